"""Classification: one logit and a weighted positive class for two classes; else one logit and one weight for each class."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from neurocohort.errors import InputError

CLASSIFICATION = "classification"


@dataclass(frozen=True)
class Classification:
    """A classification with loss weights from the training counts, such that all classes have the same total weight.

    Args:
        classes: Number of classes, coded from 0.
        positive_weight: Weight of class 1, for two classes.
        class_weights: Weight of each class, for more than two; else empty.
    """

    classes: int = 2
    positive_weight: float = 1.0
    class_weights: tuple[float, ...] = ()
    kind: ClassVar[str] = CLASSIFICATION
    target_dtype: ClassVar[torch.dtype] = torch.int64

    @classmethod
    def fitted(cls, targets: np.ndarray, classes: int) -> "Classification":
        """The weights from the training targets (scans,), the integers 0 to ``classes`` - 1."""
        codes = np.asarray(targets, dtype=np.int64)
        foreign = sorted({int(code) for code in codes} - set(range(classes)))
        if foreign:
            raise InputError(
                f"the training part has the target(s) {', '.join(map(str, foreign))}; expected 0 to {classes - 1} for "
                f"{classes} classes. Let samples.tsv and the experiment's `classes` agree."
            )
        counts = np.bincount(codes, minlength=classes)
        if not counts.all():
            lacking = ", ".join(map(str, np.flatnonzero(counts == 0)))
            raise InputError(
                f"the training part's {len(codes)} scan(s) have none of class {lacking} (of 0 to {classes - 1}), so it can't be "
                "learned: a larger cohort, merged `classes`, another split or fewer folds may help."
            )
        if classes == 2:
            return cls(2, positive_weight=float(counts[0] / counts[1]))
        weights = len(codes) / (classes * counts)  # their mean over the training scans is 1
        return cls(classes, class_weights=tuple(float(weight) for weight in weights))

    @property
    def outputs(self) -> int:
        """Number of logits that the network returns for a scan."""
        return 1 if self.classes == 2 else self.classes

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over the scans of their weighted cross-entropy: (N, outputs) logits, (N,) integer classes."""
        outputs = outputs.float()
        if self.classes == 2:
            weight = outputs.new_full((), self.positive_weight)
            return functional.binary_cross_entropy_with_logits(outputs[:, 0], targets.float(), pos_weight=weight)
        # torch's own mean divides by the sum of the weights: the loss of a batch would not be the mean of its samples' losses.
        weights = torch.tensor(self.class_weights, device=outputs.device)
        return functional.cross_entropy(outputs, targets.long(), weight=weights, reduction="none").mean()

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """The probabilities, (N, classes) float32."""
        outputs = outputs.float()
        if self.classes == 2:
            return torch.stack([torch.sigmoid(-outputs[:, 0]), torch.sigmoid(outputs[:, 0])], dim=1)
        return torch.softmax(outputs, dim=1)
