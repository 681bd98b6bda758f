"""The content of a bundle, and what its templates state about it: the data it learned from, their terms, inputs and outputs."""

from dataclasses import dataclass, field, fields
from functools import cached_property
from importlib.metadata import version

import numpy as np
import pandas as pd

from neurocohort import __version__
from neurocohort.architectures import ARCHITECTURES
from neurocohort.dataset.targets import class_names
from neurocohort.export.bundle_conformal import Conformal
from neurocohort.export.bundle_files import scans
from neurocohort.imaging.derivatives import NATIVE_SPACE, TEMPLATE_SPACE
from neurocohort.imaging.template import native_grid, study_grid
from neurocohort.imaging.volume import Grid
from neurocohort.learning.model_files import WEIGHTS
from neurocohort.learning.settings import TrainingSettings, read_settings
from neurocohort.learning.tasks import (
    Classification,
    Regression,
    Segmentation,
    Task,
    mirrored_labels_of,
    structures_of_task,
    task_from,
)
from neurocohort.report.sources import Record
from neurocohort.report.study import Run
from neurocohort.settings.scan import NATIVE
from neurocohort.structures import TISSUES

__all__ = ["__version__", "version"]

BY_TEST_FOLD = "held-out, each by the networks of the own test fold alone"

SOURCES = {"synthetic": "synthetic scans", "ixi": "IXI", "oasis1": "OASIS-1", "own": "scans of the study's own"}
TERMS = {
    "synthetic": "synthetic scans, made by neurocohort itself. They show no real person, and no terms apply to them.",
    "ixi": (
        "the IXI dataset (https://brain-development.org/ixi-dataset/), Creative Commons Attribution-ShareAlike 3.0 "
        "(https://creativecommons.org/licenses/by-sa/3.0/). Name the source. Share what you adapt from the data under the same "
        "licence."
    ),
    "oasis1": (
        "OASIS-1, cross-sectional (https://sites.wustl.edu/oasisbrains/), under the OASIS Data Use Agreement, which the person "
        "who ran the study accepted. Read and accept it before you use or pass on this model, and cite Marcus et al. 2007 "
        "(https://doi.org/10.1162/jocn.2007.19.9.1498)."
    ),
    "own": "scans of the study's own, under the terms of their owner. Ask the person who ran the study.",
}


class Intensity(Record):
    """Mean and standard deviation of the training part, in levels 0 to 255, by modality."""

    mean: list[float]
    deviation: list[float]


class Member(Run):
    """run.json of a network in the bundle."""

    intensity: Intensity


@dataclass(frozen=True)
class Bundle:
    """What a bundle is made from.

    Attributes:
        experiment: The experiment's name.
        entry: Its block of the configuration.
        members: Its networks by name.
        metrics: metrics.tsv.
        samples: samples.tsv.
        configuration: The study's.
        conformal: What its intervals or sets are made from.
    """

    experiment: str
    entry: dict
    members: dict[str, Member]
    metrics: pd.DataFrame
    samples: pd.DataFrame
    configuration: dict
    conformal: Conformal = field(default_factory=Conformal)

    @property
    def packages(self) -> dict[str, str]:
        """The versions of the packages that it needs in addition to MONAI, torch and numpy, by name."""
        return {name: version(name) for name in ("nibabel", *ARCHITECTURES[self.settings.network].packages)}

    @cached_property
    def settings(self) -> TrainingSettings:
        """The training settings of the first network; those that a bundle depends on are shared by all."""
        return read_settings(next(iter(self.members.values())).settings)

    @cached_property
    def tasks(self) -> list[Task]:
        """The task of each network, with constants of its own."""
        return [task_from(member.task) for member in self.members.values()]

    @property
    def task(self) -> Task:
        """The task of the first network."""
        return self.tasks[0]

    @property
    def own_structures(self) -> list[str]:
        """The names of the structures of a segmentation; none for CSF, GM and WM, and for other tasks."""
        names = structures_of_task(self.task)
        return [] if names == TISSUES else [*names]

    @property
    def mirrored_labels(self) -> list[int]:
        """The label of each label in the mirror image, if there are left and right structures."""
        return [*(mirrored_labels_of(self.task) or ())]

    @property
    def weights(self) -> list[str]:
        """The file names of the weights."""
        return [f"model_{name}.safetensors" for name in self.members] if len(self.members) > 1 else [WEIGHTS]

    @property
    def grid(self) -> Grid:
        preprocessing = self.configuration["preprocessing"]
        grid = native_grid if self.native else study_grid
        return grid(preprocessing["spacing_mm"], tuple(preprocessing["shape"]))

    @property
    def native(self) -> bool:
        """Whether the scans are in their own space and not registered to the template."""
        return self.configuration["preprocessing"].get("space") == NATIVE

    @property
    def space(self) -> str:
        """BIDS' name for the space of the study's grid."""
        return NATIVE_SPACE if self.native else TEMPLATE_SPACE

    @property
    def class_names(self) -> list[str]:
        count = self.task.classes if isinstance(self.task, Classification) else 0
        return class_names(self.entry.get("classes") or list(range(count)))

    @property
    def data_source(self) -> str:
        """The origin of each training cohort."""
        return "; ".join(f"{name}: {SOURCES[_kind(self.configuration, name)]}" for name in self.entry["cohorts"])

    @property
    def measured(self) -> list["Measured"]:
        """The network's results on the whole held-out part and on external cohorts."""
        rows = self.metrics.query("model == 'network' and group == 'all' and part in ('held-out', 'external')")
        # The bundle is the mean over all test folds, which only external cohorts tested.
        if "test_fold" in self.samples:
            rows = rows.assign(part=rows["part"].replace("held-out", BY_TEST_FOLD))
        rows = rows[[one.name for one in fields(Measured)]]
        return [Measured(*row) for row in rows.astype(object).where(rows.notna(), None).itertuples(index=False)]

    @property
    def training_cohorts(self) -> list["TrainingCohort"]:
        """What the weights were fitted on."""
        parts = ["train", "validation"] if self.entry["training"]["cross_validation"] else ["train"]
        trained = self.samples["part"].isin(parts) & self.samples["cohort"].isin(self.entry["cohorts"])
        return [_training_cohort(str(name), rows) for name, rows in self.samples[trained].groupby("cohort")]

    @property
    def input_range(self) -> list[float]:
        """The smallest and largest standardised value of a voxel."""
        first = next(iter(self.members.values())).intensity
        mean, deviation = np.array(first.mean), np.array(first.deviation)
        return [round(((0 - mean) / deviation).min(), 4), round(((scans.LEVELS - mean) / deviation).max(), 4)]

    @property
    def output_channels(self) -> dict[int, str]:
        """The meaning of each output of the network."""
        task = self.task
        if isinstance(task, Segmentation):
            names = ["background", *task.structures]
        elif isinstance(task, Classification):
            names = ["logit of class 1"] if task.outputs == 1 else [f"logit of class {n}" for n in range(task.outputs)]
        elif not isinstance(task, Regression) or task.outputs == 1:
            names = ["standardised value"]
        else:
            names = [f"logit of the bin at {centre:.4g}" for centre in np.linspace(task.low, task.high, task.outputs)]
        return dict(enumerate(names))


@dataclass(frozen=True)
class Measured:
    """A row of metrics.tsv; None for a missing value."""

    cohort: str
    part: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    interval: str
    n: int


@dataclass(frozen=True)
class TrainingCohort:
    """Counts of a training cohort; ``age_years``: the smallest and the largest age, None where unknown."""

    cohort: str
    scans: int
    participants: int
    age_years: tuple[float | None, float | None]
    sex: dict[str, int]
    sites: list[str]


def terms_of(configuration: dict, cohort: str) -> str:
    """The terms of a cohort's data, by its source."""
    return TERMS[_kind(configuration, cohort)]


def _kind(configuration: dict, cohort: str) -> str:
    if configuration["demo_data"]:
        return "synthetic"
    source = configuration["cohorts"][cohort]["source"]
    return source if source in TERMS else "own"


def _training_cohort(name: str, rows: pd.DataFrame) -> TrainingCohort:
    ages = pd.to_numeric(rows["age"], errors="coerce").dropna()
    return TrainingCohort(
        name,
        len(rows),
        int(rows["participant_id"].nunique()),
        (round(float(ages.min()), 1), round(float(ages.max()), 1)) if len(ages) else (None, None),
        {str(sex): int(count) for sex, count in rows["sex"].value_counts().sort_index().items()},
        sorted(map(str, rows["site"].dropna().unique())),
    )
