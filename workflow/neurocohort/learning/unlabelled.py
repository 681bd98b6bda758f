"""Batches of scans without labels: two views of each, which have the same geometry and differ in intensity alone.

So the teacher's output for one view belongs to the voxels of the other. Order and views depend only on the seed and the number of
the step in the whole training.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from neurocohort.dataset.folds import TRAIN, with_fold
from neurocohort.errors import InputError
from neurocohort.learning.augmentation import AugmentationParameters, ChannelParameters, augment, draw
from neurocohort.learning.batches import BatchSource, ahead
from neurocohort.learning.data import foreground
from neurocohort.learning.patches import brain_voxel, start_around
from neurocohort.learning.pretraining_inputs import seed_of

SEED_STREAM, ORDER_STREAM = 10, 11  # the draws of labelled scans have others


@dataclass(frozen=True)
class Views:
    """Two views of some scans on the device.

    Args:
        student: (n, C, X, Y, Z) float32, augmented as labelled scans are.
        teacher: The same with the same geometry and without any change of intensity.
        counted: (n, X, Y, Z) bool, the voxels inside the head.
        weight: The weight of this process's loss, as for `Batch`.
    """

    student: torch.Tensor
    teacher: torch.Tensor
    counted: torch.Tensor
    weight: float


@dataclass(frozen=True)
class _Gathered:
    """What is prepared without a GPU."""

    images: list[torch.Tensor]
    drawn: list[AugmentationParameters]
    starts: list[tuple[int, ...]] | None


class UnlabelledBatches:
    """The views of the rows ``samples`` for the process ``rank``, ``batch_size`` scans a step, read from the disk as needed.

    An epoch has the ``steps`` of the labelled scans. The scans follow each other in a random order, and in another one when all
    were seen, whatever epoch that is in.
    """

    def __init__(self, samples: pd.DataFrame, source: BatchSource, steps: int, rank: int = 0):
        self.source, self.settings, self.steps, self.rank = source, source.settings, steps, rank
        self.places = source.packed.places(samples)
        self.patch = tuple(self.settings.patch) or None
        self.seed = seed_of(self.settings.seed, SEED_STREAM)

    def epoch(self, epoch: int, first_step: int = 0) -> Generator[Views, None, None]:
        """Yield the views of ``epoch`` from ``first_step`` on, prepared by threads as those of `TrainingBatches`."""
        numbers = [self._numbers(epoch * self.steps + step) for step in range(first_step, self.steps)]
        workers = self.settings.workers
        if self.source.device.type == "cpu":
            yield from ahead(lambda mine: self._views(self._gathered(mine)), numbers, workers)
            return
        with closing(ahead(self._gathered, numbers, workers)) as gathered:
            for one in gathered:
                yield self._views(one)

    def sample(self, number: int) -> int:
        """The row of ``samples`` that the draw ``number`` (from 0, over the whole training) takes."""
        turn, place = divmod(number, len(self.places))
        return int(np.random.default_rng((self.seed, turn, ORDER_STREAM)).permutation(len(self.places))[place])

    def _numbers(self, step: int) -> list[int]:
        """The draws of this process in a ``step`` of the whole training."""
        size = self.settings.batch_size
        whole = np.arange(step * size, (step + 1) * size)
        return np.array_split(whole, self.settings.processes)[self.rank].tolist()

    def _gathered(self, numbers: list[int]) -> _Gathered:
        source, pinned = self.source, self.source.device.type == "cuda"
        places = [self.places[self.sample(number)] for number in numbers]
        channels = len(source.intensity.mean)
        drawn = [draw(self.settings.augmentation, self.seed, 0, number, channels) for number in numbers]
        images = [torch.from_numpy(source.packed.image(*place)) for place in places]
        starts = None
        if self.patch:
            starts = [
                start_around(
                    brain_voxel(source.packed, place, (self.seed, 0, number)), own, tuple(image.shape[1:]), self.patch
                )
                for place, number, own, image in zip(places, numbers, drawn, images, strict=True)
            ]
        return _Gathered([one.pin_memory() for one in images] if pinned else images, drawn, starts)

    def _views(self, gathered: _Gathered) -> Views:
        intensity, settings = self.source.intensity, self.settings
        images = [one.to(self.source.device, non_blocking=True) for one in gathered.images]
        geometry = [without_intensity(one) for one in gathered.drawn]
        student, teacher = (
            augment(images, None, drawn, intensity, patch=self.patch, starts=gathered.starts)[0]
            for drawn in (gathered.drawn, geometry)
        )
        weight = settings.processes * len(images) / settings.batch_size
        return Views(student, teacher, foreground(teacher, intensity), weight)


def without_intensity(drawn: AugmentationParameters) -> AugmentationParameters:
    """The geometry of ``drawn`` alone: flip, rotation, shift, scale and deformation."""
    return replace(drawn, channels=(ChannelParameters(),) * len(drawn.channels), slices=None, box=None)


def training_part(unlabelled: pd.DataFrame, labelled: pd.DataFrame, fold: int) -> pd.DataFrame:
    """The rows without labels that a training may learn from.

    Args:
        unlabelled: unlabelled.tsv.
        labelled: The samples of the training, with the parts of the fold.
        fold: The fold that validates; 0 for the split's own validation part.

    Raises:
        InputError: If no row is left, or if a participant or image is in the validation part too.
    """
    table = with_fold(unlabelled, fold)
    rows = table[table["part"] == TRAIN].reset_index(drop=True)
    if rows.empty:
        raise InputError(
            f"the training part has no scan without a label map that is used, of {len(unlabelled)} in the development part; "
            "expected at least one. Remove `semi_supervised`, or set `semi_supervised.labelled` to use fewer label maps."
        )
    other = labelled[labelled["part"] != TRAIN]
    same = rows["participant_id"].astype(str).isin(other["participant_id"].astype(str))
    if "voxels_sha256" in rows and "voxels_sha256" in other:
        same |= rows["voxels_sha256"].isin(other["voxels_sha256"])
    if same.any():
        raise InputError(
            f"{same.sum()} scans to learn from without labels are of participants who validate: "
            f"{', '.join(sorted(rows.loc[same, 'scan_id'])[:10])}; expected none. Delete the experiment's folder `training` and "
            "run again."
        )
    return rows
