"""The packed cohorts: memory-mapped eight-bit volumes, found through the index of each pack.

A pack is a folder with the scans of some participants of a cohort (``development`` or ``held-out``). Only the packs of the given
samples are opened, so that a training can't read a held-out volume; the folder need not even exist.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from neurocohort.dataset.pack_index import PackIndex, read_index
from neurocohort.errors import InputError
from neurocohort.files import read_table

LEVELS = 256
SMALLEST_DEVIATION = 1e-6
HALF_LEVEL = 0.5  # an intensity above the outside by less than this is outside

Pack = tuple[str, str]  # cohort and name of the pack, as samples.tsv has them


@dataclass(frozen=True)
class Intensity:
    """``mean`` and standard ``deviation`` of each channel inside the brain, in levels from 0 to 255."""

    mean: list[float]
    deviation: list[float]


@dataclass(frozen=True)
class PackedImages:
    """The arrays of packs, by (cohort, pack).

    Args:
        images: (scans, channels, X, Y, Z) uint8.
        labels: (scans, X, Y, Z) uint8.
        channels: The channels to use, in order.
        indices: The index of packs on disk; each row is checked against it when it is first read.
    """

    images: dict[Pack, np.ndarray]
    labels: dict[Pack, np.ndarray]
    channels: dict[Pack, list[int]]
    indices: dict[Pack, PackIndex] = field(default_factory=dict)

    def places(self, samples: pd.DataFrame) -> list[tuple[Pack, int]]:
        """(cohort, pack) and row in the pack of each row of ``samples``. Raises InputError for a scan that isn't packed."""
        found = []
        for cohort, name, scan, row in samples[["cohort", "pack", "scan_id", "row"]].itertuples(index=False):
            pack = (cohort, name)
            found.append((pack, self.indices[pack].row(scan) if pack in self.indices else int(row)))
        return found

    def image(self, pack: Pack, row: int) -> np.ndarray:
        """One scan (C, X, Y, Z) uint8, read into memory."""
        return np.array(self._checked("images", pack, row)[self.channels[pack]])

    def label_map(self, pack: Pack, row: int) -> np.ndarray:
        """One scan's labels (X, Y, Z) uint8, read into memory."""
        return np.array(self._checked("labels", pack, row))

    def _checked(self, name: str, pack: Pack, row: int) -> np.ndarray:
        content = getattr(self, name)[pack][row]
        if pack in self.indices:
            self.indices[pack].check(name, row, content)
        return content

    def each_image(self, samples: pd.DataFrame) -> Iterator[np.ndarray]:
        """The scans of ``samples`` in order, one (C, X, Y, Z) uint8 at a time."""
        return (self.image(pack, row) for pack, row in self.places(samples))

    def stack_arrays(self, samples: pd.DataFrame) -> np.ndarray:
        """The scans of ``samples`` in order, (N, C, X, Y, Z) uint8, in memory."""
        return np.stack(list(self.each_image(samples)))

    def stack_images(self, samples: pd.DataFrame) -> torch.Tensor:
        """`stack_arrays` as a tensor."""
        return torch.from_numpy(self.stack_arrays(samples))


def packed_folders(samples: pd.DataFrame, results: Path) -> dict[Pack, Path]:
    """The folders of the packs that contain ``samples``, by (cohort, pack)."""
    packs = samples[["cohort", "pack"]].drop_duplicates().sort_values(["cohort", "pack"])
    return {(s.cohort, s.pack): Path(results) / s.cohort / "packed" / s.pack for s in packs.itertuples()}


def open_packed(folders: dict[Pack, Path], modalities: list[str]) -> PackedImages:
    """Map the arrays in ``folders``; ``modalities`` become the channels, in this order.

    Raises:
        InputError: If an array is missing or incomplete, if the index doesn't match the arrays, if a cohort was packed without
            one of the modalities, or if two packs have different grids.
    """
    opened = PackedImages({}, {}, {})
    images, labels, channels, indices = opened.images, opened.labels, opened.channels, opened.indices
    for pack, folder in folders.items():
        images[pack], labels[pack] = (_mapped(folder / name) for name in ("images.npy", "labels.npy"))
        packed = read_table(folder / "channels.tsv", required=("modality",))["modality"].tolist()
        if absent := [modality for modality in modalities if modality not in packed]:
            raise InputError(
                f"{folder} contains {', '.join(packed)} but not {', '.join(absent)}: name it under the cohort's `modalities`."
            )
        channels[pack] = [packed.index(modality) for modality in modalities]
        indices[pack] = read_index(folder, len(images[pack]), len(labels[pack]))
    grids = {array.shape[2:]: folders[pack] for pack, array in images.items()}
    if len(grids) > 1:
        found = "; ".join(f"{folder}: {' x '.join(map(str, grid))}" for grid, folder in grids.items())
        raise InputError(f"the packed cohorts differ in their grid ({found}); delete these folders and run again.")
    return opened


def intensity_statistics(scans: Iterable[np.ndarray | torch.Tensor]) -> Intensity:
    """Mean and standard deviation of each channel's voxels above 0 in the *training* scans; 0 is outside the brain.

    The voxels are counted by level in integers, so that the result depends neither on their order nor on threads.

    Args:
        scans: (C, X, Y, Z) uint8 each, one at a time.

    Raises:
        InputError: If a channel is 0 everywhere.
    """
    counts: np.ndarray | int = 0
    for scan in scans:
        counts = counts + np.stack([np.bincount(channel.ravel(), minlength=LEVELS) for channel in np.asarray(scan)])
    found, levels = Intensity([], []), np.arange(LEVELS)
    for index, channel in enumerate(np.atleast_2d(counts)):
        inside = channel * (levels > 0)
        if not inside.any():
            raise InputError(
                f"channel {index + 1} of the packed training scans is 0 everywhere: there is nothing to learn from."
            )
        mean = float((inside * levels).sum() / inside.sum())
        variance = float((inside * (levels - mean) ** 2).sum() / inside.sum())
        found.mean.append(mean)
        found.deviation.append(max(variance**0.5, SMALLEST_DEVIATION))
    return found


def to_input(images: torch.Tensor, intensity: Intensity) -> torch.Tensor:
    """(..., C, X, Y, Z) levels to the network's input in float32; the outside of the brain is constant in each channel."""
    return standardise_(images.to(torch.float32, copy=True), intensity)


def standardise_(levels: torch.Tensor, intensity: Intensity) -> torch.Tensor:
    """Subtract the mean of each channel from the float32 ``levels`` (..., C, X, Y, Z) and divide by its deviation, in place."""
    for channel, (mean, deviation) in enumerate(zip(intensity.mean, intensity.deviation, strict=True)):
        levels.select(-4, channel).sub_(mean).div_(deviation)  # plain numbers: a GPU would wait for a tensor of them
    return levels


def foreground(scans: torch.Tensor, intensity: Intensity) -> torch.Tensor:
    """The voxels (N, X, Y, Z), bool, of standardised ``scans`` (N, C, X, Y, Z) that are above 0 in at least one channel."""
    above = [
        scans[:, channel] > (HALF_LEVEL - mean) / deviation
        for channel, (mean, deviation) in enumerate(zip(intensity.mean, intensity.deviation, strict=True))
    ]
    return torch.stack(above).any(dim=0)


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be mapped: {error}. Delete it and run again to have it rebuilt.") from error
