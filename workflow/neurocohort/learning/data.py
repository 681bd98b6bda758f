"""The packed cohorts as learning sees them: memory-mapped eight-bit volumes, found by the pack's own index.

A pack is a folder with the scans of some of a cohort's participants (``development`` or ``held-out``). Only the packs that the
given samples lie in are opened, so that a training can't read a held-out volume: the folder need not even be there.
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

Pack = tuple[str, str]  # cohort and name of the pack, as samples.tsv has them


@dataclass(frozen=True)
class PackedImages:
    """Arrays by (cohort, pack), uint8: ``images`` (scans, channels, X, Y, Z) and ``labels`` (scans, X, Y, Z).

    ``channels``: by (cohort, pack), which of its channels to take, in which order. ``indices``: of packs on disk, their index;
    each row is checked against it when it is first read.
    """

    images: dict[Pack, np.ndarray]
    labels: dict[Pack, np.ndarray]
    channels: dict[Pack, list[int]]
    indices: dict[Pack, PackIndex] = field(default_factory=dict)

    def places(self, samples: pd.DataFrame) -> list[tuple[Pack, int]]:
        """For each row of ``samples``: its (cohort, pack) and its row there. Raises InputError for a scan that isn't packed."""
        found = []
        for sample in samples.itertuples():
            pack = (sample.cohort, sample.pack)
            row = self.indices[pack].row(sample.scan_id) if pack in self.indices else int(sample.row)
            found.append((pack, row))
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
        """The scans of ``samples``' rows in their order, one (C, X, Y, Z) uint8 at a time."""
        return (self.image(pack, row) for pack, row in self.places(samples))

    def stack_images(self, samples: pd.DataFrame) -> torch.Tensor:
        """The scans of ``samples``' rows in their order, (N, C, X, Y, Z) uint8, in memory."""
        return torch.from_numpy(np.stack(list(self.each_image(samples))))

    def stack_labels(self, samples: pd.DataFrame) -> torch.Tensor:
        """The label maps of ``samples``' rows in their order, (N, X, Y, Z) uint8, in memory."""
        return torch.from_numpy(np.stack([self.label_map(pack, row) for pack, row in self.places(samples)]))


def packed_folders(samples: pd.DataFrame, results: Path) -> dict[Pack, Path]:
    """The folders of the packs in which ``samples`` lie, and of no others, by (cohort, pack)."""
    packs = samples[["cohort", "pack"]].drop_duplicates().sort_values(["cohort", "pack"])
    return {(s.cohort, s.pack): Path(results) / s.cohort / "packed" / s.pack for s in packs.itertuples()}


def open_packed(folders: dict[Pack, Path], modalities: list[str]) -> PackedImages:
    """Map the arrays that lie in ``folders``; ``modalities`` become the channels, in their order.

    Raises InputError where an array is missing or isn't whole, where the index is of other arrays,
    where a cohort was packed without one of the modalities, and
    where two packs lie on different grids.
    """
    images, labels, channels, indices = {}, {}, {}, {}
    for pack, folder in folders.items():
        images[pack], labels[pack] = (_mapped(folder / name) for name in ("images.npy", "labels.npy"))
        packed = read_table(folder / "channels.tsv", required=("modality",))["modality"].tolist()
        if absent := [modality for modality in modalities if modality not in packed]:
            raise InputError(
                f"{folder} holds {', '.join(packed)} and not {', '.join(absent)}: name it under the cohort's `modalities`."
            )
        channels[pack] = [packed.index(modality) for modality in modalities]
        indices[pack] = read_index(folder, len(images[pack]), len(labels[pack]))
    grids = {array.shape[2:]: folders[pack] for pack, array in images.items()}
    if len(grids) > 1:
        found = "; ".join(f"{folder}: {' x '.join(map(str, grid))}" for grid, folder in grids.items())
        raise InputError(f"the packed cohorts differ in their grid ({found}); delete these folders and run again.")
    return PackedImages(images, labels, channels, indices)


def intensity_statistics(scans: Iterable[np.ndarray | torch.Tensor]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel's voxels above 0 in the *training* scans; 0 is outside the brain.

    ``scans``: (C, X, Y, Z) uint8 each, such as `PackedImages.each_image` reads them one by one; a whole (N, C, X, Y, Z) does
    as well. The voxels are counted by level in integers, so the result depends neither on their order nor on threads. Raises
    InputError where a channel is 0 everywhere.
    """
    counts: np.ndarray | int = 0
    for scan in scans:
        counts = counts + np.stack([np.bincount(channel.ravel(), minlength=LEVELS) for channel in np.asarray(scan)])
    means, deviations = [], []
    levels = np.arange(LEVELS)
    for index, channel in enumerate(np.atleast_2d(counts)):
        inside = channel * (levels > 0)
        if not inside.any():
            raise InputError(
                f"channel {index + 1} of the packed training scans is 0 everywhere: there is nothing to learn from."
            )
        means.append(float((inside * levels).sum() / inside.sum()))
        variance = float((inside * (levels - means[-1]) ** 2).sum() / inside.sum())
        deviations.append(max(variance**0.5, SMALLEST_DEVIATION))
    return means, deviations


def to_input(images: torch.Tensor, mean: list[float], deviation: list[float]) -> torch.Tensor:
    """(..., C, X, Y, Z) levels to the network's input in float32; the outside keeps one constant value a channel."""
    return standardise_(images.to(torch.float32, copy=True), mean, deviation)


def standardise_(levels: torch.Tensor, mean: list[float], deviation: list[float]) -> torch.Tensor:
    """The float32 ``levels`` (..., C, X, Y, Z) less their channel's ``mean``, over its ``deviation``, in place."""
    for channel, (centre, spread) in enumerate(zip(mean, deviation, strict=True)):
        levels.select(-4, channel).sub_(centre).div_(spread)  # plain numbers: a tensor of them would hold a GPU up
    return levels


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be mapped: {error}. Delete it and run again to have it rebuilt.") from error
