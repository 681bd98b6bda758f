"""Batches for the network: in which order, from which memory, prepared by which threads.

Order, patches and augmentation depend on (seed, epoch, sample) alone. Memory, workers and the step at which an epoch is taken
up change no bit, and the processes of a training divide each batch without changing it.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from neurocohort.errors import InputError
from neurocohort.learning.augmentation import AugmentationParameters, augment, draw, movement
from neurocohort.learning.data import Pack, PackedImages, to_input
from neurocohort.learning.memory import free_memory
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import SEGMENTATION, Task

RESIDENT, STREAMED = "resident", "streamed"
RESIDENT_SHARE = 0.5  # of the free memory: the network's activations need the rest
CENTRE_TRIES = 256  # the brain fills a fifth of a volume and more
PATCH_STREAM = 2  # beside (seed, epoch, sample); augmentation has its own

Item = TypeVar("Item")
Result = TypeVar("Result")
Scan = tuple[torch.Tensor, torch.Tensor | None]  # (C, X, Y, Z) and, for a segmentation, (X, Y, Z), uint8


@dataclass(frozen=True)
class Batch:
    """``inputs`` (n, C, X, Y, Z) float32 and ``targets``, (n,) values or (n, X, Y, Z) labels, both on the device.

    ``count``: scans of the batch over all processes. ``share``: this process's weight of the loss, processes * n / count, so
    that the mean over the processes of share * (mean loss of n scans) is the mean loss of the whole batch.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    count: int
    share: float


@dataclass(frozen=True)
class _Gathered:
    """A process's scans of a batch and what is drawn for them: all of a batch that needs no GPU. ``count``: as in Batch."""

    samples: list[int]
    scans: list[Scan]
    drawn: list[AugmentationParameters]
    starts: list[tuple[int, ...]] | None
    count: int


class TrainingBatches:
    """The batches of the training rows ``samples``, augmented as ``settings`` say, for the process ``rank``.

    ``steps``: batches of an epoch, all of nearly one size: a last batch of one scan would have no batch statistics.
    ``memory``: resident (the part's volumes lie on ``device`` whole) or streamed (read from the map when they are needed).
    Raises InputError where a batch has fewer scans than there are processes, and where a patch is larger than the volume.
    """

    def __init__(
        self,
        samples: pd.DataFrame,
        packed: PackedImages,
        task: Task,
        settings: TrainingSettings,
        mean: list[float],
        deviation: list[float],
        device: torch.device,
        *,
        rank: int = 0,
    ):
        self.packed, self.settings, self.mean, self.deviation = packed, settings, mean, deviation
        self.device, self.rank = device, rank
        self.places = packed.places(samples)
        self.steps = math.ceil(len(samples) / settings.batch_size)
        self.patch = tuple(settings.patch) or None
        self.has_labels = task.kind == SEGMENTATION
        self.target_dtype = task.target_dtype
        self._check()
        self.targets = None if self.has_labels else _values(samples, task).to(device)
        self.memory = settings.memory if settings.memory in (RESIDENT, STREAMED) else self._fitting_memory()
        self.resident = self._load() if self.memory == RESIDENT else None

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` from ``first_step`` on, in order.

        ``workers`` threads prepare the next ones; they end with the last batch, with an error, which the loop gets, and when
        the generator is closed. On the CPU they augment too; a GPU augments when the loop asks for the batch.
        """
        order = np.random.default_rng((self.settings.seed, epoch)).permutation(len(self.places))
        batches = np.array_split(order, self.steps)[first_step:]
        if self.device.type == "cpu":
            yield from ahead(lambda batch: self._batch(self._gathered(epoch, batch)), batches, self.settings.workers)
            return
        with closing(ahead(lambda batch: self._gathered(epoch, batch), batches, self.settings.workers)) as gathered:
            for one in gathered:
                yield self._batch(one)

    def _check(self) -> None:
        smallest = len(self.places) // max(self.steps, 1)
        if smallest < self.settings.processes:
            raise InputError(
                f"the smallest batch of {len(self.places)} training scans at `batch_size` {self.settings.batch_size} has "
                f"{smallest} scan(s), fewer than the {self.settings.processes} processes that share it: raise `batch_size` or "
                "ask for fewer GPUs."
            )
        shape = self._shape()
        if self.patch and any(side > whole for side, whole in zip(self.patch, shape, strict=True)):
            raise InputError(
                f"`patch` is {' x '.join(map(str, self.patch))} voxels and the packed volumes are {' x '.join(map(str, shape))}: "
                "choose sides that fit."
            )

    def _shape(self) -> tuple[int, ...]:
        return self.packed.images[self.places[0][0]].shape[2:]

    def _fitting_memory(self) -> str:
        volumes = len(self.packed.channels[self.places[0][0]]) + self.has_labels
        needed = len(self.places) * volumes * math.prod(self._shape())
        if self.device.type == "cpu":
            needed *= self.settings.processes  # they share the machine's memory; GPUs have their own
        return RESIDENT if needed < RESIDENT_SHARE * free_memory(self.device) else STREAMED

    def _load(self) -> list[Scan]:
        read = (_read(self.packed, pack, row, self.has_labels) for pack, row in self.places)
        return [tuple(None if part is None else part.to(self.device) for part in scan) for scan in read]

    def _gathered(self, epoch: int, batch: np.ndarray) -> _Gathered:
        mine = np.array_split(batch, self.settings.processes)[self.rank].tolist()
        limits, seed = self.settings.augmentation, self.settings.seed
        drawn = [draw(limits, seed, epoch, sample, len(self.mean)) for sample in mine]
        starts = [self._patch_start(epoch, *pair) for pair in zip(mine, drawn, strict=True)] if self.patch else None
        if self.resident is not None:
            scans = [self.resident[sample] for sample in mine]
        else:
            pinned = self.device.type == "cuda"
            scans = [_read(self.packed, *self.places[sample], self.has_labels, pinned=pinned) for sample in mine]
        return _Gathered(mine, scans, drawn, starts, len(batch))

    def _batch(self, gathered: _Gathered) -> Batch:
        images = [image.to(self.device, non_blocking=True) for image, _ in gathered.scans]
        labels = None
        if self.has_labels:
            labels = [label_map.to(self.device, non_blocking=True) for _, label_map in gathered.scans]
        inputs, targets = augment(
            images, labels, gathered.drawn, self.mean, self.deviation, patch=self.patch, starts=gathered.starts
        )
        if targets is None:
            targets = torch.stack([self.targets[sample] for sample in gathered.samples])
        share = self.settings.processes * len(inputs) / gathered.count
        return Batch(inputs, targets.to(self.target_dtype), gathered.count, share)

    def _patch_start(self, epoch: int, sample: int, drawn: AugmentationParameters) -> tuple[int, ...]:
        """The first voxel of the sample's patch in its moved volume.

        Its centre is a voxel of the head mask (first channel above 0), each as likely as another, taken to where the movement
        puts it; then the patch is shifted into the volume. The voxels are tried in the map, which every kind of memory has.
        """
        pack, row = self.places[sample]
        volume, shape = self.packed.images[pack][row, self.packed.channels[pack][0]], self._shape()
        tried = np.random.default_rng((self.settings.seed, epoch, sample, PATCH_STREAM)).integers(
            shape, size=(CENTRE_TRIES, 3)
        )
        centre = next((voxel for voxel in tried if volume[tuple(voxel)] > 0), np.array(shape) // 2)
        matrix, offset = movement(drawn, shape)
        centre = np.rint(np.linalg.solve(matrix, centre - offset)).astype(int)
        last = np.array(shape) - self.patch
        return tuple(np.clip(centre - np.array(self.patch) // 2, 0, last).tolist())


def evaluation_batches(
    samples: pd.DataFrame,
    packed: PackedImages,
    task: Task,
    settings: TrainingSettings,
    mean: list[float],
    deviation: list[float],
    device: torch.device,
) -> Iterator[Batch]:
    """The scans of ``samples`` in their order, whole and as they are, ``batch_size`` at a time, read ahead by ``workers``."""
    rows, has_labels = packed.places(samples), task.kind == SEGMENTATION
    values = None if has_labels else _values(samples, task)

    def read(start: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = slice(start, start + settings.batch_size)
        images, labels = zip(*(_read(packed, pack, row, has_labels) for pack, row in rows[chosen]), strict=True)
        targets = torch.stack(labels).to(task.target_dtype) if has_labels else values[chosen]
        return tuple(one.pin_memory() if device.type == "cuda" else one for one in (torch.stack(images), targets))

    with closing(ahead(read, range(0, len(rows), settings.batch_size), settings.workers)) as batches:
        for images, targets in batches:
            inputs = to_input(images.to(device, non_blocking=True), mean, deviation)
            yield Batch(inputs, targets.to(device, non_blocking=True), len(inputs), 1.0)


def ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``function`` of each of ``items``, in their order, computed by ``workers`` threads ahead of whoever takes them.

    At most ``workers`` results wait or are under way while one is in use; 0 workers compute when asked. An exception of
    ``function`` is raised here. The threads end when the generator is finished or closed.
    """
    if workers == 0:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(packed: PackedImages, pack: Pack, row: int, has_labels: bool, *, pinned: bool = False) -> Scan:
    arrays = [packed.image(pack, row)] + ([packed.label_map(pack, row)] if has_labels else [])
    image, *labels = (torch.from_numpy(array).pin_memory() if pinned else torch.from_numpy(array) for array in arrays)
    return image, (labels[0] if labels else None)


def _values(samples: pd.DataFrame, task: Task) -> torch.Tensor:
    return torch.tensor(samples["target"].to_numpy(dtype=np.float64)).to(task.target_dtype)
