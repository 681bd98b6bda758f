"""Batches for the network: their order, where their volumes are stored, and the threads that prepare them.

Order, patches and augmentation depend only on (seed, epoch, sample). Memory, workers and the step at which an epoch is resumed
change no bit, and the processes of a training divide each batch without changing it.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from neurocohort.errors import InputError
from neurocohort.learning.adversarial import site_numbers
from neurocohort.learning.augmentation import AugmentationParameters, augment, draw
from neurocohort.learning.auxiliary import Auxiliary, auxiliary_targets
from neurocohort.learning.data import Intensity, Pack, PackedImages, to_input
from neurocohort.learning.generative_network import with_conditions
from neurocohort.learning.memory import free_memory
from neurocohort.learning.patches import brain_voxel, start_around
from neurocohort.learning.pretraining_inputs import PretrainingInputs
from neurocohort.learning.scan_order import epoch_order, site_groups
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.synthetic_images import Contrast, Painter, Regions
from neurocohort.learning.tasks import SEGMENTATION, WITHOUT_VALUES, Generation, Task, Translation, mirrored_labels_of
from neurocohort.learning.translation_inputs import Partner, TranslationInputs, partners_of

RESIDENT, STREAMED = "resident", "streamed"
RESIDENT_FRACTION = 0.5  # of the free memory: the network's activations need the rest
STRUCTURE_STREAM = 4  # added to (seed, epoch, sample); augmentation and mixup have others

Item = TypeVar("Item")
Result = TypeVar("Result")
Scan = tuple[torch.Tensor, torch.Tensor | None]  # (C, X, Y, Z) and, for a segmentation, (X, Y, Z), uint8
Painting = tuple[Regions, Contrast]


@dataclass(frozen=True)
class Batch:
    """A batch on the device.

    Args:
        inputs: (n, C, X, Y, Z) float32.
        targets: (n,) values or (n, X, Y, Z) labels; for a pretraining or a translation see their inputs;
            for a generation the (n, 2) conditions, which are also channels of the inputs.
        count: Scans of the batch over all processes.
        auxiliary: (n, variables) values of the auxiliary variables, NaN where unknown; None without any, and in a validation.
        sites: (n,) numbers of the sites that an adversarial classifier learns; None without one, and in a validation.
        weight: The weight of this process's loss, processes * n / count. The mean over the processes of weight * (mean loss of
            n scans) is the mean loss of the whole batch.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    count: int
    weight: float
    auxiliary: torch.Tensor | None = None
    sites: torch.Tensor | None = None


@dataclass(frozen=True)
class _Gathered:
    """The scans of one process in a batch, and their random parameters: what is prepared without a GPU."""

    samples: list[int]
    scans: list[Scan]
    paintings: list[Painting | None]
    drawn: list[AugmentationParameters]
    starts: list[tuple[int, ...]] | None
    count: int
    epoch: int
    numbers: list[int]
    partners: list[Partner] | None


@dataclass(frozen=True)
class BatchSource:
    """What all batches of a training have in common; ``sites``: those that an adversarial classifier learns."""

    packed: PackedImages
    task: Task
    settings: TrainingSettings
    intensity: Intensity
    device: torch.device
    auxiliaries: tuple[Auxiliary, ...] = ()
    sites: tuple[str, ...] = ()

    @property
    def has_labels(self) -> bool:
        """Whether the targets are label maps."""
        return self.task.kind == SEGMENTATION

    @property
    def painter(self) -> Painter | None:
        """What paints images in place of scans; None where all are scans."""
        synthetic, task = self.settings.synthetic, self.task
        if not synthetic or not synthetic.fraction or not self.has_labels:
            return None
        mirrored = mirrored_labels_of(task) or tuple(range(task.outputs))
        return Painter(synthetic, self.settings, mirrored, len(self.intensity.mean))

    @property
    def pretraining(self) -> PretrainingInputs | None:
        """What makes the inputs of a pretraining; None for other tasks."""
        wanted = self.settings.pretraining
        return PretrainingInputs(self.settings, wanted, self.intensity) if wanted else None

    @property
    def translation(self) -> TranslationInputs | None:
        """What makes the inputs of a translation; None for other tasks."""
        return TranslationInputs(self.task, self.intensity) if isinstance(self.task, Translation) else None

    def read(self, pack: Pack, row: int, *, pinned: bool = False) -> Scan:
        """One scan in memory."""
        arrays = [self.packed.image(pack, row)] + ([self.packed.label_map(pack, row)] if self.has_labels else [])
        image, *labels = (
            torch.from_numpy(array).pin_memory() if pinned else torch.from_numpy(array) for array in arrays
        )
        return image, (labels[0] if labels else None)

    def values(self, samples: pd.DataFrame) -> torch.Tensor:
        """The targets of ``samples``, (rows,), of a regression or a classification; of a generation its conditions, (rows, 2);
        0 for tasks without values."""
        if isinstance(self.task, Generation):
            return self.task.conditions(samples)
        if self.task.kind in WITHOUT_VALUES:
            return torch.zeros(len(samples))
        return torch.tensor(samples["target"].to_numpy(dtype=np.float64)).to(self.task.target_dtype)


class TrainingBatches:
    """The augmented batches of the training rows ``samples`` for the process ``rank``.

    ``steps`` is the number of batches in an epoch, of nearly equal size: a last batch of one scan would have no batch
    statistics. ``memory`` is resident (all volumes are on the device) or streamed (read from disk when they are needed). Raises
    InputError where a batch has fewer scans than there are processes, and where a patch is larger than the volume.
    """

    def __init__(self, samples: pd.DataFrame, source: BatchSource, rank: int = 0):
        self.source, self.settings, self.device, self.rank = source, source.settings, source.device, rank
        self.packed, self.has_labels = source.packed, source.has_labels
        self.places = self.packed.places(samples)
        self.groups = site_groups(samples) if self.settings.balance_sites else None
        self.painter = source.painter
        self.partners = partners_of(samples, self.settings)
        self.steps = math.ceil(len(samples) / self.settings.batch_size)
        self.patch = tuple(self.settings.patch) or None
        self._check()
        self.targets = None if self.has_labels else source.values(samples).to(self.device)
        known = auxiliary_targets(source.auxiliaries, samples) if source.auxiliaries else None
        self.auxiliary = None if known is None else known.to(self.device)
        self.sites = site_numbers(source.sites, samples).to(self.device) if source.sites else None
        wanted = self.settings.memory
        self.memory = wanted if wanted in (RESIDENT, STREAMED) else self._fitting_memory()
        self.resident_regions: list[Regions] = []  # if some images are painted
        self.resident = self._load() if self.memory == RESIDENT else None

    def epoch(self, epoch: int, first_step: int = 0) -> Generator[Batch, None, None]:
        """Yield the batches of ``epoch`` from ``first_step`` on.

        ``workers`` threads prepare the next batches, augmentation included on a CPU; a GPU augments when a batch is requested.
        The threads end with the last batch, with an error, which is raised here, and when the generator is closed.
        """
        order = epoch_order(len(self.places), self.groups, self.settings.seed, epoch)
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
                f"{smallest} scan(s), fewer than the {self.settings.processes} processes that compute it: raise `batch_size` or "
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
        volumes = len(self.packed.channels[self.places[0][0]]) + self.has_labels + (self.painter is not None)
        needed = len(self.places) * volumes * math.prod(self._shape())
        if self.device.type == "cpu":
            needed *= self.settings.processes  # they share the machine's memory; GPUs have their own
        return RESIDENT if needed < RESIDENT_FRACTION * free_memory(self.device) else STREAMED

    def _load(self) -> list[Scan]:
        scans = []
        for place in self.places:
            image, labels = scan = self.source.read(*place)
            if self.painter:
                self.resident_regions.append(self.painter.regions(scan).on(self.device))
            scans.append((image.to(self.device), None if labels is None else labels.to(self.device)))
        return scans

    def _gathered(self, epoch: int, batch: np.ndarray) -> _Gathered:
        mine = np.array_split(batch, self.settings.processes)[self.rank].tolist()
        seed, channels = self.settings.seed, len(self.source.intensity.mean)
        samples = [number % len(self.places) for number in mine]
        contrasts = [self.painter.contrast(epoch, number) if self.painter else None for number in mine]
        limits = [self.painter.limits if self.painter and one else self.settings.augmentation for one in contrasts]
        drawn = [draw(own, seed, epoch, number, channels) for own, number in zip(limits, mine, strict=True)]
        starts = [self._patch_start(epoch, *pair) for pair in zip(mine, drawn, strict=True)] if self.patch else None
        if self.resident is not None:
            scans = [self.resident[sample] for sample in samples]
        else:
            scans = [self._read(sample) for sample in samples]
        paintings = [self._painting(*one) for one in zip(samples, scans, contrasts, strict=True)]
        return _Gathered(
            samples, scans, paintings, drawn, starts, len(batch), epoch, mine, self._partners_of(epoch, mine)
        )

    def _read(self, sample: int) -> Scan:
        return self.source.read(*self.places[sample], pinned=self.device.type == "cuda")

    def _partners_of(self, epoch: int, numbers: list[int]) -> list[Partner] | None:
        """The scan of another participant for each draw, and its random parameters; None where none is needed."""
        if self.partners is None:
            return None
        channels, found = len(self.source.intensity.mean), []
        for number in numbers:
            sample = self.partners.of(epoch, number)
            scan = self._read(sample) if self.resident is None else self.resident[sample]
            found.append((scan[0], self.partners.drawn(epoch, number, channels)))
        return found

    def _painting(self, sample: int, scan: Scan, contrast: Contrast | None) -> Painting | None:
        """What is painted in place of ``scan``; None where it stays."""
        if self.painter is None or contrast is None:
            return None
        return (self.resident_regions[sample] if self.resident else self.painter.regions(scan)), contrast

    def _image(self, scan: Scan, painting: Painting | None) -> torch.Tensor:
        """The scan, or the image that is painted in its place, on the device."""
        if painting is None or self.painter is None:
            return scan[0].to(self.device, non_blocking=True)
        regions, contrast = painting
        return self.painter.paint(regions.on(self.device), contrast)

    def _batch(self, gathered: _Gathered) -> Batch:
        images = [self._image(*pair) for pair in zip(gathered.scans, gathered.paintings, strict=True)]
        weight = self.settings.processes * len(images) / gathered.count
        if made := self.source.pretraining:
            return Batch(*made.of_training(images, gathered.epoch, gathered.numbers), gathered.count, weight)
        if translating := self.source.translation:
            partners = gathered.partners and [(one.to(self.device), drawn) for one, drawn in gathered.partners]
            return Batch(*translating.of_training(images, gathered.drawn, partners), gathered.count, weight)
        labels = [
            label_map.to(self.device, non_blocking=True) for _, label_map in gathered.scans if label_map is not None
        ]
        inputs, moved_labels = augment(
            images,
            labels or None,
            gathered.drawn,
            self.source.intensity,
            patch=self.patch,
            starts=gathered.starts,
            mirrored_labels=mirrored_labels_of(self.source.task),
        )
        values = [] if self.targets is None else [self.targets[sample] for sample in gathered.samples]
        targets = torch.stack(values) if moved_labels is None else moved_labels
        if isinstance(self.source.task, Generation):
            inputs = with_conditions(inputs, targets)
        auxiliary = None if self.auxiliary is None else self.auxiliary[gathered.samples]
        sites = None if self.sites is None else self.sites[gathered.samples]
        return Batch(inputs, targets.to(self.source.task.target_dtype), gathered.count, weight, auxiliary, sites)

    def _patch_start(self, epoch: int, number: int, drawn: AugmentationParameters) -> tuple[int, ...]:
        """The first voxel of the patch of a draw (`epoch_order`) in its moved volume.

        Its centre is moved with the volume; then the patch is shifted into the volume.
        """
        place, shape, position = (
            self.places[number % len(self.places)],
            self._shape(),
            (self.settings.seed, epoch, number),
        )
        centre = self._structure_voxel(place, position)
        centre = brain_voxel(self.packed, place, position) if centre is None else centre
        return start_around(centre, drawn, shape, self.patch or shape)

    def _structure_voxel(self, place: tuple[Pack, int], position: tuple[int, ...]) -> np.ndarray | None:
        """A random voxel of a structure, drawn evenly from those of the scan, for ``foreground_fraction`` of the draws.

        None for the other draws, and for a scan without any structure.
        """
        fraction = self.settings.foreground_fraction
        generator = np.random.default_rng((*position, STRUCTURE_STREAM))
        if not fraction or generator.random() >= fraction:
            return None
        return random_voxel_of_a_structure(self.packed.label_map(*place), generator)


def random_voxel_of_a_structure(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray | None:
    """Draw one of the labels above 0 that occur in ``labels`` (X, Y, Z), each equally likely, and then one of its voxels, (3,).

    None where there is no such label.
    """
    counts = np.bincount(labels.ravel())
    present = np.flatnonzero(counts[1:]) + 1
    if not len(present):
        return None
    structure = generator.choice(present)
    chosen = np.flatnonzero(labels.ravel() == structure)[generator.integers(counts[structure])]
    return np.array(np.unravel_index(chosen, labels.shape))


def evaluation_batches(samples: pd.DataFrame, source: BatchSource) -> Iterator[Batch]:
    """The scans of ``samples`` in order, whole and not augmented, ``batch_size`` at a time, read ahead by ``workers``."""
    rows, settings = source.packed.places(samples), source.settings
    values = None if source.has_labels else source.values(samples)

    def read(start: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = slice(start, start + settings.batch_size)
        scans = [source.read(*place) for place in rows[chosen]]
        labels = [label_map for _, label_map in scans if label_map is not None]
        targets = torch.stack(labels).to(source.task.target_dtype) if values is None else values[chosen]
        images = torch.stack([image for image, _ in scans])
        return (images.pin_memory(), targets.pin_memory()) if source.device.type == "cuda" else (images, targets)

    with closing(ahead(read, range(0, len(rows), settings.batch_size), settings.workers)) as batches:
        for number, (images, targets) in enumerate(batches):
            if made := source.pretraining or source.translation:
                first = number * settings.batch_size
                numbers = [*range(first, first + len(images))]
                scans = [*images.to(source.device, non_blocking=True)]
                yield Batch(*made.of_validation(scans, numbers), len(scans), 1.0)
                continue
            inputs = to_input(images.to(source.device, non_blocking=True), source.intensity)
            targets = targets.to(source.device, non_blocking=True)
            if isinstance(source.task, Generation):
                inputs = with_conditions(inputs, targets)
            yield Batch(inputs, targets, len(inputs), 1.0)


def ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result, None, None]:
    """Yield ``function`` of each of ``items`` in order, computed ahead by ``workers`` threads.

    At most ``workers`` results wait or are being computed while one is in use; with 0 workers each is computed on request. An
    exception of ``function`` is raised here. The threads end when the generator is finished or closed.
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
