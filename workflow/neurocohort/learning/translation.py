"""The networks of a translation in training: with a discriminator for pairs, and the CycleGAN for images of different people.

In training mode they get images and return their losses, so that the loop needs one loss and one optimiser. Generators and
discriminators take their step at once, each from its own loss: a discriminator sees generated images without their gradient, and
a generator sees the discriminator with constant weights. In evaluation mode they are the generator alone.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from neurocohort.learning.data import Intensity
from neurocohort.learning.networks import build_network
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import Translation
from neurocohort.learning.tasks.translation import absolute_error
from neurocohort.settings.translation import UNPAIRED

if TYPE_CHECKING:
    from monai.losses import PatchAdversarialLoss
    from monai.networks.nets import PatchDiscriminator

GENERATOR = "generator."  # how the names of its tensors begin
DISCRIMINATOR_CHANNELS, DISCRIMINATOR_LAYERS = 16, 2
AXES = 3


class PairedWithDiscriminator(nn.Module):
    """A generator, and a discriminator that gets the images that the prediction is made from too (Isola et al. 2017).

    Training: (N, C + 2, X, Y, Z), the source channels, the target and 1 inside the brain, to (N, 1) losses.
    Evaluation: the source channels to the predicted image.
    """

    def __init__(self, generator: nn.Module, task: Translation, intensity: Intensity):
        super().__init__()
        self.generator, self.task = generator, task
        self.discriminator = discriminator(task.channels + 1)
        self.outside = _outside(intensity)[-1]
        self.adversary = adversarial_loss()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self.generator(images)
        source, target, counted = images.split([self.task.channels, 1, 1], dim=1)
        made = _inside(self.generator(source), counted, self.outside)
        error = absolute_error(made.float(), target, counted)
        fooling = _fooling(self.adversary, self.discriminator, torch.cat([source, made], dim=1))
        pairs = [torch.cat([source, one], dim=1) for one in (target, made.detach())]
        loss = error + self.task.adversarial * fooling + _telling(self.adversary, self.discriminator, *pairs)
        return loss.reshape(1, 1).expand(len(images), 1)


class CycleGan(nn.Module):
    """Two generators and two discriminators that learn from images of different people (Zhu et al. 2017).

    Training: (N, 4, X, Y, Z), a source image, a target image of somebody else and 1 inside the brain of each, to (N, 1) losses.
    Evaluation: the source image to the predicted target image.
    """

    def __init__(self, generator: nn.Module, backward_generator: nn.Module, task: Translation, intensity: Intensity):
        super().__init__()
        self.generator, self.backward_generator, self.task = generator, backward_generator, task
        self.target_discriminator, self.source_discriminator = discriminator(1), discriminator(1)
        self.outside_source, self.outside_target = _outside(intensity)
        self.adversary = adversarial_loss()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self.generator(images)
        source, target, inside_source, inside_target = images.split(1, dim=1)
        made_target = _inside(self.generator(source), inside_source, self.outside_target)
        made_source = _inside(self.backward_generator(target), inside_target, self.outside_source)
        cycle = absolute_error(self.backward_generator(made_target).float(), source, inside_source) + absolute_error(
            self.generator(made_source).float(), target, inside_target
        )
        loss = self.task.cycle * cycle
        if self.task.identity:
            same = absolute_error(self.generator(target).float(), target, inside_target)
            same = same + absolute_error(self.backward_generator(source).float(), source, inside_source)
            loss = loss + self.task.identity * same
        for judge, real, made in (
            (self.target_discriminator, target, made_target),
            (self.source_discriminator, source, made_source),
        ):
            loss = loss + _fooling(self.adversary, judge, made) + _telling(self.adversary, judge, real, made.detach())
        return loss.reshape(1, 1).expand(len(images), 1)


def with_discriminators(
    generator: nn.Module, settings: TrainingSettings, task: Translation, intensity: Intensity
) -> nn.Module:
    """What a translation is trained as: the ``generator`` itself, or a network with discriminators around it."""
    if not task.has_discriminators:
        return generator
    if task.method == UNPAIRED:
        backward = build_network(settings.network, settings.channels, 1, inputs=1, dropout=settings.dropout)
        return CycleGan(generator, backward, task, intensity)
    return PairedWithDiscriminator(generator, task, intensity)


def generator_weights(weights: dict[str, torch.Tensor], task: Translation) -> dict[str, torch.Tensor]:
    """The generator's tensors of a training's ``weights``, under the names that they have in the finished model."""
    if not task.has_discriminators:
        return weights
    return {name.removeprefix(GENERATOR): tensor for name, tensor in weights.items() if name.startswith(GENERATOR)}


def discriminator(channels: int) -> "PatchDiscriminator":
    """MONAI's PatchGAN, with instance norm: a batch may be one scan."""
    from monai.networks.nets import PatchDiscriminator  # MONAI is slow to import: only where it is used

    return PatchDiscriminator(
        AXES, DISCRIMINATOR_CHANNELS, channels, num_layers_d=DISCRIMINATOR_LAYERS, norm="instance"
    )


def adversarial_loss() -> "PatchAdversarialLoss":
    """The least-squares loss that Zhu et al. 2017 took, on the discriminator's plain outputs."""
    from monai.losses import PatchAdversarialLoss

    return PatchAdversarialLoss(criterion="least_squares", no_activation_leastsq=True)


def _fooling(adversary: "PatchAdversarialLoss", judge: nn.Module, made: torch.Tensor) -> torch.Tensor:
    """The generator's loss. The weights of the discriminator are constants here, so that it learns nothing from it."""
    fixed = {name: parameter.detach() for name, parameter in judge.named_parameters()}
    judged = torch.func.functional_call(judge, fixed, (made,))[-1]
    return adversary(judged.float(), target_is_real=True, for_discriminator=False)


def _telling(
    adversary: "PatchAdversarialLoss", judge: nn.Module, real: torch.Tensor, made: torch.Tensor
) -> torch.Tensor:
    """The discriminator's loss, half of each as published; ``made`` has no gradient."""
    of_real = adversary(judge(real)[-1].float(), target_is_real=True, for_discriminator=True)
    of_made = adversary(judge(made)[-1].float(), target_is_real=False, for_discriminator=True)
    return (of_real + of_made) / 2


def _inside(image: torch.Tensor, counted: torch.Tensor, outside: float) -> torch.Tensor:
    """``image`` with the constant ``outside`` where ``counted`` is 0, as in real images, so that it reveals nothing."""
    return torch.where(counted > 0, image, torch.full_like(image, outside))


def _outside(intensity: Intensity) -> list[float]:
    """The standardised value of level 0, which is outside the brain, of each channel."""
    return [-mean / deviation for mean, deviation in zip(intensity.mean, intensity.deviation, strict=True)]
