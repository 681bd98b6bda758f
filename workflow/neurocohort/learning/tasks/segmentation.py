"""Segmentation of the tissues, with one channel for each of background, CSF, GM and WM."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

SEGMENTATION = "segmentation"
TISSUE_LABELS = 4  # background, CSF, GM, WM


@dataclass(frozen=True)
class Segmentation:
    """A segmentation; it has no constants, since the labels are the same in every cohort."""

    kind: ClassVar[str] = SEGMENTATION
    target_dtype: ClassVar[torch.dtype] = torch.uint8
    outputs: ClassVar[int] = TISSUE_LABELS

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Soft Dice of the three tissues plus cross-entropy of all labels, the mean over the samples.

        ``outputs``: (N, 4, X, Y, Z) logits; ``targets``: (N, X, Y, Z) labels 0 to 3.
        """
        return self._dice_and_cross_entropy(outputs.float(), targets[:, None])

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """The labels' probabilities, (N, 4, X, Y, Z) float32; the largest one's index is the label."""
        return torch.softmax(outputs.float(), dim=1)

    @cached_property
    def _dice_and_cross_entropy(self) -> torch.nn.Module:
        from monai.losses import DiceCELoss  # MONAI is slow to import: only where it is used

        return DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
