"""The packed cohorts as training sees them: rows of eight-bit volumes, their targets, and the training part's statistics."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from neurocohort.errors import InputError
from neurocohort.files import read_table


@dataclass(frozen=True)
class PackedImages:
    """Memory-mapped arrays by cohort, uint8: ``images`` (scans, channels, X, Y, Z) and ``labels`` (scans, X, Y, Z).

    ``channels``: by cohort, which of its channels to take, in which order.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    channels: dict[str, list[int]]

    def stack_images(self, samples: pd.DataFrame) -> torch.Tensor:
        """The volumes of ``samples``' rows in their order, (N, C, X, Y, Z) uint8, in memory."""
        rows = [self.images[s.cohort][s.row][self.channels[s.cohort]] for s in samples.itertuples()]
        return torch.from_numpy(np.stack(rows))

    def stack_labels(self, samples: pd.DataFrame) -> torch.Tensor:
        """The label maps of ``samples``' rows in their order, (N, X, Y, Z) uint8, in memory."""
        return torch.from_numpy(np.stack([self.labels[s.cohort][s.row] for s in samples.itertuples()]))


def open_packed(folders: dict[str, Path], modalities: list[str]) -> PackedImages:
    """Map the packed arrays that lie in ``folders``, by cohort; ``modalities`` become the channels, in their order.

    Raises InputError where a cohort was packed without one of them.
    """
    images, labels = (
        {cohort: np.load(folder / f"{name}.npy", mmap_mode="r") for cohort, folder in folders.items()}
        for name in ("images", "labels")
    )
    channels = {}
    for cohort, folder in folders.items():
        packed = read_table(folder / "channels.tsv", required=("modality",))["modality"].tolist()
        if absent := [modality for modality in modalities if modality not in packed]:
            raise InputError(
                f"{folder} holds {', '.join(packed)} and not {', '.join(absent)}: name it under the cohort's `modalities`."
            )
        channels[cohort] = [packed.index(modality) for modality in modalities]
    return PackedImages(images, labels, channels)


def intensity_statistics(images: torch.Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel's voxels above 0 in the *training* volumes (N, C, X, Y, Z, uint8);
    0 is outside the brain.
    """
    means, deviations = [], []
    levels = torch.arange(256, dtype=torch.float64)
    for channel in images.unbind(1):
        counts = sum(torch.bincount(volume.flatten(), minlength=256) for volume in channel).double()
        counts[0] = 0
        means.append(float((counts * levels).sum() / counts.sum()))
        variance = float((counts * (levels - means[-1]) ** 2).sum() / counts.sum())
        deviations.append(max(variance**0.5, 1e-6))
    return means, deviations


@dataclass(frozen=True)
class Part:
    """One part of the samples in memory: ``images`` (N, C, X, Y, Z) uint8; ``targets`` (N,) values or (N, X, Y, Z) labels."""

    images: torch.Tensor
    targets: torch.Tensor


def to_input(images: torch.Tensor, mean: list[float], deviation: list[float]) -> torch.Tensor:
    """(N, C, X, Y, Z) uint8 to the network's input in float32; the outside keeps one constant value a channel."""
    return (images.float() - _by_channel(mean, images)) / _by_channel(deviation, images)


def _by_channel(values: list[float], images: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=images.device)[:, None, None, None]
