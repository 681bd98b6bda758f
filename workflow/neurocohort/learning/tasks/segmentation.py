"""Segmentation of the tissues or of structures with names, with one channel for background and for each of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from neurocohort.structures import TISSUES, mirrored_labels

SEGMENTATION = "segmentation"


@dataclass(frozen=True)
class Segmentation:
    """A segmentation, with no constants from the training part.

    Args:
        structures: Their names, label 1 first.
    """

    structures: tuple[str, ...] = TISSUES
    kind: ClassVar[str] = SEGMENTATION
    target_dtype: ClassVar[torch.dtype] = torch.uint8

    @property
    def outputs(self) -> int:
        """Number of labels, background included."""
        return len(self.structures) + 1

    @property
    def mirrored_labels(self) -> tuple[int, ...] | None:
        """The label of each label in the mirror image; None where all keep theirs."""
        mirrored = mirrored_labels(self.structures)
        return None if mirrored == tuple(range(self.outputs)) else mirrored

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Soft Dice of the structures plus cross-entropy of all labels, the mean over the samples.

        ``outputs``: (N, labels, X, Y, Z) logits; ``targets``: (N, X, Y, Z) labels from 0.
        """
        return self._dice_and_cross_entropy(outputs.float(), targets[:, None])

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """The labels' probabilities, (N, labels, X, Y, Z) float32; the largest one's index is the label."""
        return torch.softmax(outputs.float(), dim=1)

    @cached_property
    def _dice_and_cross_entropy(self) -> torch.nn.Module:
        from monai.losses import DiceCELoss  # MONAI is slow to import: only where it is used

        return DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
