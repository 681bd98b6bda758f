"""The packed cohorts as training sees them: rows of eight-bit volumes, their targets, and the training part's statistics."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch


@dataclass(frozen=True)
class PackedImages:
    """Memory-mapped ``images`` and ``labels`` by cohort, each (scans, X, Y, Z) uint8."""

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    def stack(self, samples: pd.DataFrame, which: str = "images") -> torch.Tensor:
        """The volumes of ``samples``' rows in their order, (N, X, Y, Z) uint8, in memory."""
        arrays = getattr(self, which)
        return torch.from_numpy(np.stack([arrays[s.cohort][s.row] for s in samples.itertuples()]))


def open_packed(folders: dict[str, Path], names: tuple[str, str] = ("images.npy", "labels.npy")) -> PackedImages:
    """Map the packed arrays that lie in ``folders``, by cohort."""
    images, labels = (
        {cohort: np.load(folder / name, mmap_mode="r") for cohort, folder in folders.items()} for name in names
    )
    return PackedImages(images, labels)


def intensity_statistics(images: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the voxels above 0 of the *training* volumes (uint8); 0 is outside the brain."""
    counts = torch.bincount(images.flatten().to(torch.int64), minlength=256).double()
    counts[0] = 0
    levels = torch.arange(256, dtype=torch.float64)
    mean = float((counts * levels).sum() / counts.sum())
    variance = float((counts * (levels - mean) ** 2).sum() / counts.sum())
    return mean, max(variance**0.5, 1e-6)


@dataclass(frozen=True)
class Part:
    """One part of the samples in memory: ``images`` (N, X, Y, Z) uint8 and ``targets``, (N,) values or (N, X, Y, Z) labels."""

    images: torch.Tensor
    targets: torch.Tensor


def to_input(images: torch.Tensor, mean: float, deviation: float) -> torch.Tensor:
    """(N, X, Y, Z) uint8 to the network's input (N, 1, X, Y, Z) float32; the outside keeps one constant value."""
    return ((images.float() - mean) / deviation)[:, None]
