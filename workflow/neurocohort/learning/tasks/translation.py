"""Translation: one kind of image from others, voxel by voxel. No label is needed."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from neurocohort.settings.translation import PAIRED, TRANSLATION, UNPAIRED

LOSS_DIMENSIONS = 2  # of what a network with discriminators returns in training: its losses (N, 1)


@dataclass(frozen=True)
class Translation:
    """A translation, with no constants from the training part.

    Args:
        method: ``paired`` or ``unpaired``.
        channels: Channels that the prediction is made from.
        adversarial: Weight of the discriminator's loss, for ``paired``.
        cycle: Weight of the error there and back, for ``unpaired``.
        identity: Weight of the change of an image of the predicted kind, for ``unpaired``.
    """

    method: str = PAIRED
    channels: int = 1
    adversarial: float = 0.0
    cycle: float = 10.0
    identity: float = 5.0
    kind: ClassVar[str] = TRANSLATION
    target_dtype: ClassVar[torch.dtype] = torch.float32

    @property
    def outputs(self) -> int:
        """Number of channels of the predicted image."""
        return 1

    @property
    def has_discriminators(self) -> bool:
        """Whether discriminators are trained with the network; the finished model has none."""
        return self.method == UNPAIRED or self.adversarial > 0

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over the samples of their mean absolute error inside the brain, in standardised intensities.

        Args:
            outputs: (N, 1, X, Y, Z), the predicted image. In training with discriminators (N, 1), losses, whose mean is returned.
            targets: (N, 2, X, Y, Z): the true image, and 1 in each voxel that counts.
        """
        if outputs.ndim == LOSS_DIMENSIONS:
            return outputs.mean()
        return absolute_error(outputs.float(), targets[:, :1], targets[:, 1:])

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """The predicted images in standardised intensities, float32."""
        return outputs.float()


def absolute_error(found: torch.Tensor, true: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """The mean over the samples of the mean absolute error of the voxels that count.

    Args:
        found: (N, C, X, Y, Z).
        true: The same shape.
        counted: (N, 1, X, Y, Z), 1 or 0.
    """
    errors = ((found - true).abs() * counted).flatten(1).sum(dim=1)
    return (errors / (counted.flatten(1).sum(dim=1) * found.shape[1]).clamp(min=1)).mean()
