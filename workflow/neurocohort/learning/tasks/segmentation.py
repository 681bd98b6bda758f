"""Segmentation of the tissues or of structures with names, with one channel for background and for each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch

from neurocohort.structures import TISSUES, mirrored_labels

SEGMENTATION = "segmentation"
DICE_CE, DICE_FOCAL = "dice_ce", "dice_focal"


@dataclass(frozen=True)
class Segmentation:
    """A segmentation, with no constants from the training part.

    Args:
        structures: Their names, label 1 first.
        loss_name: ``dice_ce`` or ``dice_focal``.
    """

    structures: tuple[str, ...] = TISSUES
    loss_name: str = DICE_CE
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
        """Soft Dice of the structures plus cross-entropy or focal loss of all labels, the mean over the samples.

        ``outputs``: (N, labels, X, Y, Z) logits; ``targets``: (N, X, Y, Z) labels from 0.
        """
        return self._criterion(outputs.float(), targets[:, None])

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """The labels' probabilities, (N, labels, X, Y, Z) float32; the largest one's index is the label."""
        return torch.softmax(outputs.float(), dim=1)

    @cached_property
    def _criterion(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        from monai.losses import DiceCELoss, DiceLoss, FocalLoss  # MONAI is slow to import: only where it is used

        if self.loss_name == DICE_CE:
            return DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
        # Not MONAI's DiceFocalLoss: its focal part takes a sigmoid of each logit, and probabilities here are a softmax.
        dice = DiceLoss(to_onehot_y=True, softmax=True, include_background=False)
        focal = FocalLoss(to_onehot_y=True, use_softmax=True)
        # MONAI's mean is also over the labels. Their sum has the scale of the cross-entropy for any number of labels.
        return lambda outputs, targets: dice(outputs, targets) + outputs.shape[1] * focal(outputs, targets)
