"""A latent diffusion model of scans, given a target and sex: an autoencoder and, on its latent maps, a diffusion network.

After Rombach et al. 2022 and, for brains, Pinaya et al. 2022; both networks and the schedule of the noise are MONAI's. The two
are trained at the same time, and no gradient of the diffusion network reaches the autoencoder. So one training with one
checkpoint learns both.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks.generation import CONDITIONS, Generation
from neurocohort.settings.generation import NORM_GROUPS

if TYPE_CHECKING:
    from monai.networks.schedulers import DDIMScheduler

NOISE_LEVELS = 1000
FIRST_BETA, LAST_BETA = 0.0015, 0.0195  # of the noise, as in MONAI's tutorials of latent diffusion
TOKEN = 32  # values of each condition's token, which the diffusion network attends to
VALIDATION_LEVELS = 4  # levels of noise at which the loss of each validation scan is computed, evenly spaced


class GenerativeNetwork(nn.Module):
    """The autoencoder and the diffusion network.

    Input: (N, C + 2, X, Y, Z), scans and constant maps of the two conditions (`with_conditions`).
    Output: (N, 3), the losses of each scan (`tasks.Generation.loss`).
    """

    def __init__(self, channels: int, settings: TrainingSettings):
        super().__init__()
        # MONAI is slow to import: only where it is used.
        from monai.networks.nets import AutoencoderKL, DiffusionModelUNet

        wanted = settings.generation
        if wanted is None:
            raise ValueError("a generative network needs settings with `generation`")
        self.seed = settings.seed  # of the noise in a validation
        levels, widths = len(wanted.channels), wanted.diffusion_channels
        self.multiple = 2 ** (levels - 1 + len(widths) - 1)  # of voxels, that each side is padded to
        self.halvings, self.latent_channels = levels - 1, wanted.latent_channels
        self.autoencoder = AutoencoderKL(
            3,
            channels,
            channels,
            num_res_blocks=1,
            channels=wanted.channels,
            attention_levels=[False] * levels,
            latent_channels=wanted.latent_channels,
            norm_num_groups=NORM_GROUPS,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        # The diffusion network expects latent maps with a mean of 0 and a standard deviation of 1.
        self.standardise = nn.BatchNorm3d(wanted.latent_channels, affine=False)
        self.tokens = nn.Sequential(nn.Linear(CONDITIONS, TOKEN), nn.SiLU(), nn.Linear(TOKEN, CONDITIONS * TOKEN))
        self.diffusion = DiffusionModelUNet(
            3,
            wanted.latent_channels,
            wanted.latent_channels,
            num_res_blocks=1,
            channels=widths,
            attention_levels=[False] * (len(widths) - 1) + [True],
            norm_num_groups=NORM_GROUPS,
            num_head_channels=widths,
            with_conditioning=True,
            cross_attention_dim=TOKEN,
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        images, conditions = inputs[:, :-CONDITIONS], inputs[:, -CONDITIONS:, 0, 0, 0]
        padded = self.padded(images)
        mean, deviation = self.autoencoder.encode(padded)
        latents = mean + deviation * self._normal(mean)
        decoded = self.cropped(self.autoencoder.decode(latents), images)
        error = (decoded.float() - images.float()).abs().flatten(1).mean(dim=1)
        divergence = 0.5 * (mean**2 + deviation**2 - 1 - 2 * deviation.clamp(min=1e-6).log())
        noise = self._noise_loss(self.standardise(latents.detach().float()), conditions)
        return torch.stack([error, divergence.float().flatten(1).mean(dim=1), noise], dim=1)

    def context(self, conditions: torch.Tensor) -> torch.Tensor:
        """The tokens (N, 2, values) of conditions (N, 2)."""
        return self.tokens(conditions).unflatten(1, (CONDITIONS, TOKEN))

    def padded(self, images: torch.Tensor) -> torch.Tensor:
        """``images`` (N, C, X, Y, Z), with the sides that both networks can halve; the border is repeated."""
        lacking = [-side % self.multiple for side in images.shape[2:]]
        return functional.pad(images, [value for side in reversed(lacking) for value in (0, side)], mode="replicate")

    def cropped(self, decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """``decoded`` without the voxels that `padded` added to ``images``."""
        x, y, z = images.shape[2:]
        return decoded[:, :, :x, :y, :z]

    def encoded(self, images: torch.Tensor) -> torch.Tensor:
        """The standardised latent maps of ``images`` (N, C, X, Y, Z): the mean that the autoencoder gives, without noise."""
        mean, deviation = self._latent_statistics()
        return (self.autoencoder.encode(self.padded(images))[0] - mean) / deviation

    def decoded(self, latents: torch.Tensor) -> torch.Tensor:
        """The images of standardised ``latents``."""
        mean, deviation = self._latent_statistics()
        return self.autoencoder.decode(latents * deviation + mean)

    def _latent_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Running mean and standard deviation of the latent maps, (1, channels, 1, 1, 1) each."""
        variance, mean = self.standardise.running_var, self.standardise.running_mean
        if variance is None or mean is None:
            raise ValueError("the latent maps have no statistics")
        place = (1, -1, 1, 1, 1)
        return mean.view(place), (variance + self.standardise.eps).sqrt().view(place)

    def _noise_loss(self, latents: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
        """The mean squared error of the predicted noise of each scan, (N,): at a random level, in a validation at fixed ones."""
        schedule, count = noise_schedule(), len(latents)
        if self.training:
            levels = [torch.randint(NOISE_LEVELS, (count,), device=latents.device)]
        else:
            step = NOISE_LEVELS // VALIDATION_LEVELS
            fixed = range(step // 2, NOISE_LEVELS, step)
            levels = [torch.full((count,), level, device=latents.device) for level in fixed]
        context, losses = self.context(conditions), []
        for timesteps in levels:
            noise = self._normal(latents)
            noisy = schedule.add_noise(latents, noise, timesteps)
            predicted = self.diffusion(noisy, timesteps, context=context)
            losses.append(((predicted.float() - noise) ** 2).flatten(1).mean(dim=1))
        return torch.stack(losses).mean(dim=0)

    def _normal(self, like: torch.Tensor) -> torch.Tensor:
        """Normal random numbers: in training of the step's seed, in a validation the same for each scan and epoch."""
        if self.training:
            return torch.randn_like(like)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(like.shape[1:], generator=generator).to(like).expand_as(like)


def noise_schedule() -> "DDIMScheduler":
    """How much noise each of the 1000 levels has, and how a step removes it (Song et al. 2021)."""
    from monai.networks.schedulers import DDIMScheduler  # MONAI is slow to import: only where it is used

    return DDIMScheduler(
        NOISE_LEVELS, "scaled_linear_beta", clip_sample=False, beta_start=FIRST_BETA, beta_end=LAST_BETA
    )


def generative_network(settings: TrainingSettings, task: Generation) -> GenerativeNetwork:
    """The generative network of ``settings`` with random weights; ``task`` has nothing that its size depends on."""
    return GenerativeNetwork(len(settings.modalities), settings)


def with_conditions(images: torch.Tensor, conditions: torch.Tensor) -> torch.Tensor:
    """The images (N, C, X, Y, Z) and, as more channels, a constant map of each of their conditions (N, 2)."""
    maps = conditions.to(images)[:, :, None, None, None].expand(-1, -1, *images.shape[2:])
    return torch.cat([images, maps], dim=1)


def latent_shape(network: GenerativeNetwork, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Channels and voxels of the latent maps of a scan of ``shape`` (X, Y, Z)."""
    padded = (math.ceil(side / network.multiple) * network.multiple for side in shape)
    return network.latent_channels, *(side // 2**network.halvings for side in padded)
