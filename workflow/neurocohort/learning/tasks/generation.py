"""Generation: a model of images, given a variable (the target of the regression that it belongs to) and sex."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch

from neurocohort.dataset.targets import SEX_CLASSES
from neurocohort.settings.generation import GENERATION

CONDITIONS = 2  # the standardised target, and sex
LOSSES = 3  # reconstruction, divergence, noise


@dataclass(frozen=True)
class Generation:
    """A generative model with constants from the training targets.

    Args:
        mean: Mean of the training targets.
        scale: Their standard deviation; 1 where they are equal.
        kl_weight: Weight of the divergence of the latent maps.
    """

    mean: float
    scale: float
    kl_weight: float
    kind: ClassVar[str] = GENERATION
    target_dtype: ClassVar[torch.dtype] = torch.float32

    @classmethod
    def fitted(cls, targets: np.ndarray, kl_weight: float) -> "Generation":
        """The constants from the training targets, (scans,)."""
        values = np.asarray(targets, dtype=np.float64)
        return cls(float(values.mean()), float(values.std()) or 1.0, kl_weight)

    @property
    def outputs(self) -> int:
        """Number of values that the network returns for a scan: its losses."""
        return LOSSES

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over the scans of the losses (N, 3) that the network returns; ``targets`` are in its input already.

        Mean absolute error of the reconstructed voxels, plus the weighted divergence of the latent maps, plus the mean squared
        error of the predicted noise.
        """
        error, divergence, noise = outputs.float().mean(dim=0)
        return error + self.kl_weight * divergence + noise

    def predict(self, outputs: torch.Tensor) -> torch.Tensor:
        """The losses, float32."""
        return outputs.float()

    def conditions(self, samples: pd.DataFrame) -> torch.Tensor:
        """What each image of ``samples`` is of, (rows, 2) float32.

        The target in standard deviations from the mean of the training part; and sex, -1 for F, 1 for M, 0 where it isn't known.
        """
        target = (samples["target"].to_numpy(dtype=np.float64) - self.mean) / self.scale
        sex = samples["sex"].map(SEX_CLASSES).astype(float).to_numpy() * 2 - 1
        return torch.tensor(np.stack([target, np.nan_to_num(sex)], axis=1), dtype=torch.float32)
