"""A study as its plan sees it: the configuration, the sizes of its cohorts, and the scans of each experiment's parts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from neurocohort.cluster.planning.cohorts import Archive, Cohort, published_weights, study_cohorts, synthstrip_weights
from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table
from neurocohort.learning.draws import draws_of
from neurocohort.sources.scan_batches import batch_count, read_batches
from neurocohort.study.members import all_experiments, members_of
from neurocohort.study.pretraining import is_pretraining
from neurocohort.study.translation import is_translation


@dataclass(frozen=True)
class Parts:
    """Numbers of scans of an experiment: for training, for validation after each epoch, held out, and of external cohorts."""

    train: float
    validation: float
    held_out: float
    external: float

    @property
    def predicted(self) -> float:
        """Scans to which each network is applied."""
        return self.validation + self.held_out + self.external

    @property
    def all(self) -> float:
        """All scans."""
        return self.train + self.predicted


@dataclass(frozen=True)
class PastTraining:
    """What run.json records of a finished training: its epochs, its device, and its CPU threads."""

    epochs: int = 0
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Study:
    """A study: its checked configuration, and its folder."""

    config: dict[str, Any]
    directory: Path

    @cached_property
    def cohorts(self) -> dict[str, Cohort]:
        """The cohorts by name."""
        return {cohort.name: cohort for cohort in study_cohorts(self.config, self.directory)}

    @cached_property
    def experiments(self) -> Mapping[str, Any]:
        """The experiments of the configuration by name, and those that are trained in addition to them."""
        return all_experiments(self.config["experiments"])

    @cached_property
    def scans(self) -> int:
        """The scans of all cohorts."""
        return sum(cohort.scans for cohort in self.cohorts.values())

    def batches(self, cohort: str) -> int:
        """The number of batches in which the cohort's scans are preprocessed."""
        return batch_count(self.cohorts[cohort].scans, self.config["preprocessing"]["batch_size"])

    def scans_in_batch(self, cohort: str, batch: str) -> float:
        """The scans of a batch; the mean of all batches if ingest has not run, and for an empty ``batch``."""
        table = self.directory / "data" / cohort / "batches.tsv"
        known = read_batches(table) if batch and table.is_file() else {}
        return len(known[batch]) if batch in known else self.cohorts[cohort].scans / self.batches(cohort)

    @property
    def shape(self) -> list[int]:
        """Voxels of the study's grid along its axes."""
        return self.config["preprocessing"]["shape"]

    @property
    def grid_mvoxels(self) -> float:
        """Millions of voxels of the study's grid."""
        return math.prod(self.shape) / 1e6

    @cached_property
    def archives(self) -> list[Archive]:
        """Every file that is downloaded or linked, each once."""
        found = {archive.place: archive for cohort in self.cohorts.values() for archive in cohort.archives}
        weights = synthstrip_weights(self.config, self.directory)
        published = published_weights(self.config, self.directory)
        return [*found.values(), *([weights] if weights else []), *published]

    def members(self, experiment: str) -> list[str]:
        """The runs that are trained: one for each fold and seed, and for each draw of a sweep."""
        settings = self.experiments[experiment]
        members = members_of(settings, self.config["split"]["folds"], self.config["split"]["test_folds"])
        draws = draws_of(settings["sweep"])
        return [f"{draw}/{member}" for draw in draws for member in members] if draws else members

    def parts(self, experiment: str) -> Parts:
        """The parts of an experiment. Raises KeyError if there is none of this name."""
        return self._parts[experiment]

    @cached_property
    def _parts(self) -> dict[str, Parts]:
        return {name: self._counted(name) for name in self.experiments}

    def _counted(self, experiment: str) -> Parts:
        """From the experiment's table of samples if it exists; otherwise from the split's proportions, before any filter."""
        settings, split = self.experiments[experiment], self.config["split"]
        table = self.samples(experiment)
        if table.is_file():
            counts = read_table(table, required=("part",))["part"].value_counts()
            names = ("train", "validation", "held-out", "external")
            train, validation, held_out, external = (float(counts.get(part, 0)) for part in names)
        else:
            total = sum(self._usable(name, settings) for name in settings["cohorts"])
            external = sum(self._usable(name, settings) for name in settings["external"])
            held_out = 0.0 if split["test_folds"] else split["held_out"] * total
            validation = split["validation"] * total
            train = total - validation - held_out
            if number := settings.get("own_participants"):  # of a learning curve
                validation = number * split["validation"] / (1 - split["held_out"])
                train = number - validation
        if number := split["test_folds"]:  # of one network: its test fold is held out
            held_out = (train + validation + held_out) / number
            train, validation = (part * (number - 1) / number for part in (train, validation))
        if settings["training"].get("cross_validation"):
            development = train + validation
            validation = development / split["folds"]
            train = development - validation
        return Parts(train, validation, held_out, external)

    def _usable(self, cohort: str, settings: dict[str, Any]) -> float:
        sized = self.cohorts[cohort]
        if is_pretraining(settings) or is_translation(settings):
            return sized.scans
        return sized.labelled if settings["task"] == "segmentation" else sized.scans_with(settings["target"])

    def samples(self, experiment: str) -> Path:
        """The experiment's table of samples; of a pretraining, that of its training."""
        folder = self.folder(experiment)
        return (folder / "training" if is_pretraining(self.experiments[experiment]) else folder) / "samples.tsv"

    def folder(self, experiment: str) -> Path:
        """The folder of the experiment's results."""
        return self.directory / "results" / "experiments" / experiment

    def past_training(self, experiment: str) -> PastTraining:
        """One of the experiment's trainings that have finished; default values if there is none."""
        for path in sorted(self.folder(experiment).glob("*seed-*/run.json")):
            try:
                run = read_json(path)
            except InputError:  # half a file, from a full disk
                continue
            return PastTraining(
                run.get("epochs_run", 0), run.get("device", "cpu"), (run.get("settings") or {}).get("threads", 1)
            )
        return PastTraining()
