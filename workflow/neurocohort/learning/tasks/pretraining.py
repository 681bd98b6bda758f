"""Pretraining: the reconstruction of hidden cubes, or the recognition of two views of one scan. Neither needs a label."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import torch

from neurocohort.settings.pretraining import CONTRASTIVE, MASKED, PRETRAINING

if TYPE_CHECKING:
    from monai.losses import ContrastiveLoss

PROJECTED = 128  # values of a view's projection, as in Chen et al. 2020


@dataclass(frozen=True)
class Pretraining:
    """A pretraining, with no constants from the training part.

    Args:
        method: ``masked`` or ``contrastive``.
        channels: Channels of a scan.
        temperature: What similarities are divided by, for ``contrastive``.
    """

    method: str = MASKED
    channels: int = 1
    temperature: float = 0.1
    kind: ClassVar[str] = PRETRAINING
    target_dtype: ClassVar[torch.dtype] = torch.float32

    @property
    def outputs(self) -> int:
        """Number of channels of a reconstruction, or of values of a projection."""
        return PROJECTED if self.method == CONTRASTIVE else self.channels

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean of the samples' losses.

        ``masked``: the mean squared error over the hidden voxels of the foreground. ``outputs``: (N, C, X, Y, Z);
        ``targets``: (N, C + 1, X, Y, Z), the scan and, as the last channel, 1 in each voxel that counts.

        ``contrastive``: the cross-entropy of finding the other view of the same scan among all other views of the batch (NT-Xent,
        Chen et al. 2020, International Conference on Machine Learning). ``outputs``: (N, 2, values); ``targets`` aren't read.
        """
        if self.method == CONTRASTIVE:
            return self._criterion(outputs[:, 0].float(), outputs[:, 1].float())
        scan, counted = targets[:, :-1], targets[:, -1:]
        errors = ((outputs.float() - scan) ** 2 * counted).flatten(1).sum(dim=1)
        return (errors / (counted.flatten(1).sum(dim=1) * self.channels).clamp(min=1)).mean()

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """The reconstructions or projections, float32."""
        return outputs.float()

    def chance(self, scans: int) -> float:
        """The contrastive loss of a network that finds all views equally similar, in a batch of ``scans``."""
        return math.log(2 * scans - 1)

    @cached_property
    def _criterion(self) -> "ContrastiveLoss":
        from monai.losses import ContrastiveLoss  # MONAI is slow to import: only where it is used

        return ContrastiveLoss(temperature=self.temperature)
