"""What a pretraining's network gets: scans with hidden cubes, or two changed views of each scan.

Cubes and views depend only on (seed, epoch, sample). Those of the validation scans are the same in every epoch, so that the
losses of two epochs can be compared.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from neurocohort.learning.augmentation import (
    PROBABILITY_OF_EACH,
    AugmentationParameters,
    Box,
    ChannelParameters,
    augment,
    draw,
)
from neurocohort.learning.data import Intensity, foreground
from neurocohort.learning.noise import gaussian_noise
from neurocohort.learning.settings import TrainingSettings
from neurocohort.settings.pretraining import CONTRASTIVE, Pretraining

# Added to (seed, epoch, sample); the other draws of a training have others. The second view has the number after VIEW_STREAM.
CUBE_STREAM, VIEW_STREAM, VALIDATION_STREAM = 6, 7, 9


@dataclass(frozen=True)
class PretrainingInputs:
    """How the inputs of a pretraining are made from its scans.

    Args:
        settings: The training, with ``pretraining``.
        wanted: Its ``pretraining``.
        intensity: Of the training part.
    """

    settings: TrainingSettings
    wanted: Pretraining
    intensity: Intensity

    def of_training(
        self, images: list[torch.Tensor], epoch: int, numbers: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The augmented inputs and the targets of one batch.

        Args:
            images: N scans (C, X, Y, Z) uint8.
            epoch: From 0.
            numbers: The number of each scan's draw in the epoch.

        Returns:
            ``masked``: (N, C, X, Y, Z), the scans with hidden cubes, and (N, C + 1, X, Y, Z), the scans and the voxels that
            count.
            ``contrastive``: (N, 2 C, X, Y, Z), the channels of both views, and N zeros. All float32.
        """
        return self._made(images, self.settings.seed, epoch, numbers, augmented=True)

    def of_validation(self, images: list[torch.Tensor], numbers: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """As `of_training`, the same in every epoch; hidden cubes are in scans that aren't augmented."""
        return self._made(images, seed_of(self.settings.seed, VALIDATION_STREAM), 0, numbers, augmented=False)

    def _made(
        self, images: list[torch.Tensor], seed: int, epoch: int, numbers: list[int], *, augmented: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.wanted.method == CONTRASTIVE:
            views = [self._view(images, seed, epoch, numbers, view) for view in range(2)]
            return torch.cat(views, dim=1), torch.zeros(len(images), device=images[0].device)
        limits, channels = self.settings.augmentation, len(images[0])
        unchanged = AugmentationParameters(channels=(ChannelParameters(),) * channels)
        drawn = [draw(limits, seed, epoch, number, channels) if augmented else unchanged for number in numbers]
        return self._hidden(augment(images, None, drawn, self.intensity)[0], seed, epoch, numbers)

    def _view(self, images: list[torch.Tensor], seed: int, epoch: int, numbers: list[int], view: int) -> torch.Tensor:
        drawn = []
        for number in numbers:
            # Another seed for the second view, since it is another draw of the same sample.
            own = draw(self.settings.augmentation, seed_of(seed, VIEW_STREAM + view), epoch, number, len(images[0]))
            drawn.append(with_crop(own, self.wanted, np.random.default_rng((seed, epoch, number, VIEW_STREAM, view))))
        return augment(images, None, drawn, self.intensity)[0]

    def _hidden(
        self, scans: torch.Tensor, seed: int, epoch: int, numbers: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shape, inputs = tuple(scans.shape[2:]), scans.clone()
        counted = foreground(scans, self.intensity)
        for index, number in enumerate(numbers):
            generator = np.random.default_rng((seed, epoch, number, CUBE_STREAM))
            cubes = hidden_cubes(shape, self.wanted.mask_voxels, self.wanted.mask_fraction, generator)
            hidden = torch.from_numpy(cubes).to(scans.device, non_blocking=True)
            counted[index] &= hidden
            for channel in inputs[index]:
                if self.wanted.mask_value == "noise":
                    noise = gaussian_noise(shape, int(generator.integers(2**63)), scans.device)
                    channel.copy_(torch.where(hidden, noise, channel))
                else:
                    channel.masked_fill_(hidden, 0.0)
        return inputs, torch.cat([scans, counted.unsqueeze(1).float()], dim=1)


def hidden_cubes(shape: tuple[int, ...], edge: int, fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Draw which voxels are hidden: cubes of a grid with a random origin, of which a ``fraction`` is hidden, at least one.

    Args:
        shape: Voxels of the volume.
        edge: Of a cube, in voxels.
        fraction: Of the cubes, 0 to 1.
        generator: Of the random numbers.

    Returns:
        Bool array of ``shape``, True where hidden.
    """
    origin = generator.integers(edge, size=3)
    counts = [math.ceil((side + start) / edge) for side, start in zip(shape, origin.tolist(), strict=True)]
    whole = math.prod(counts)
    hidden = np.zeros(whole, dtype=bool)
    hidden[generator.permutation(whole)[: max(1, round(fraction * whole))]] = True
    cubes = hidden.reshape(counts)
    for axis in range(3):
        cubes = cubes.repeat(edge, axis=axis)
    box = tuple(slice(start, start + side) for side, start in zip(shape, origin.tolist(), strict=True))
    return np.ascontiguousarray(cubes[box])


def with_crop(
    drawn: AugmentationParameters, wanted: Pretraining, generator: np.random.Generator
) -> AugmentationParameters:
    """Add a random crop, enlarged to the whole field of view, to half of the views, and a box cut out to half of them.

    The crop is a scale and a shift, so that the voxels are interpolated once.
    """
    cropped, cut = generator.random(2) < PROBABILITY_OF_EACH
    side, places = generator.uniform(wanted.crop, 1), generator.uniform(-1, 1, 3)
    centre, sides = generator.random(3), generator.random(3)
    box = Box(tuple(centre.tolist()), tuple((wanted.cutout * sides).tolist())) if cut and wanted.cutout else None
    if not cropped or wanted.crop == 1:
        return replace(drawn, box=box)
    shift = np.array(drawn.shift) + (1 - side) / 2 * places
    return replace(drawn, box=box, scale=float(drawn.scale * side), shift=tuple(shift.tolist()))


def seed_of(seed: int, stream: int) -> int:
    """Another seed that follows from ``seed``."""
    return int(np.random.SeedSequence((seed, stream)).generate_state(1)[0])
