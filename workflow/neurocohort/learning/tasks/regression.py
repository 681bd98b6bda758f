"""Regression: the expectation over soft bins after Peng et al. 2021, or one value."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from neurocohort.learning.constants import SOFT_BINS

REGRESSION = "regression"
BIN_MARGIN = 0.1  # of the training range, below and above it


@dataclass(frozen=True)
class Regression:
    """A regression with constants from the training targets.

    Args:
        soft_bins: Whether the network returns a distribution over bins, or one value.
        low: Centre of the lowest bin.
        high: Centre of the highest bin.
        mean: Mean of the targets, with which a single value is standardised.
        scale: Their standard deviation, likewise.
    """

    soft_bins: bool
    low: float
    high: float
    mean: float
    scale: float
    kind: ClassVar[str] = REGRESSION
    target_dtype: ClassVar[torch.dtype] = torch.float32

    @classmethod
    def fitted(cls, targets: np.ndarray, soft_bins: bool) -> "Regression":
        """The bins and the scale from the training targets, (scans,)."""
        values = np.asarray(targets, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        if high == low:  # equal targets still need different bins, and a scale
            return cls(soft_bins, low - 1.0, high + 1.0, low, 1.0)
        margin = BIN_MARGIN * (high - low)
        return cls(soft_bins, low - margin, high + margin, float(values.mean()), float(values.std()))

    @property
    def outputs(self) -> int:
        """Number of values that the network returns for a scan."""
        return SOFT_BINS if self.soft_bins else 1

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over (N, outputs) and (N,) values: Kullback-Leibler divergence of bins, or the standardised square error.

        A value becomes a Gaussian one bin wide over the bins (Peng et al. 2021, Medical Image Analysis 68, 101871).
        """
        outputs, targets = outputs.float(), targets.float()
        if not self.soft_bins:
            return functional.mse_loss(outputs[:, 0], (targets - self.mean) / self.scale)
        centres = self._centres(outputs.device)
        width = (self.high - self.low) / (SOFT_BINS - 1)
        soft = torch.softmax(-0.5 * ((targets[:, None] - centres) / width) ** 2, dim=1)
        return functional.kl_div(torch.log_softmax(outputs, dim=1), soft, reduction="batchmean")

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """The values, (N,) float32, in the target's unit."""
        outputs = outputs.float()
        if self.soft_bins:
            return torch.softmax(outputs, dim=1) @ self._centres(outputs.device)
        return outputs[:, 0] * self.scale + self.mean

    def _centres(self, device: torch.device) -> torch.Tensor:
        return torch.linspace(self.low, self.high, SOFT_BINS, device=device)
