"""A study as its plan sees it: the configuration, the cohorts' sizes, and how many scans each experiment has in which part."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from neurocohort.cluster.planning.cohorts import Archive, Cohort, study_cohorts, synthstrip_weights
from neurocohort.errors import InputError
from neurocohort.files import read_json, read_table
from neurocohort.sources.scan_batches import batch_count, read_batches
from neurocohort.study.members import all_experiments, draws_of, members_of


@dataclass(frozen=True)
class Parts:
    """Scans of an experiment: trained on, validated on after each epoch, held out, and of external cohorts."""

    train: float
    validation: float
    held_out: float
    external: float

    @property
    def predicted(self) -> float:
        """Those that each network is applied to."""
        return self.validation + self.held_out + self.external

    @property
    def all(self) -> float:
        return self.train + self.predicted


@dataclass(frozen=True)
class Study:
    """``config``: checked. ``directory``: the study's folder."""

    config: dict
    directory: Path

    @cached_property
    def cohorts(self) -> dict[str, Cohort]:
        return {cohort.name: cohort for cohort in study_cohorts(self.config, self.directory)}

    @cached_property
    def experiments(self) -> dict[str, dict]:
        """Those of the configuration and what is trained beside them."""
        return all_experiments(self.config["experiments"])

    def batches(self, cohort: str) -> int:
        """The number of batches in which the cohort's scans are preprocessed."""
        return batch_count(self.cohorts[cohort].scans, self.config["preprocessing"]["batch_size"])

    def scans_in_batch(self, cohort: str, batch: str) -> float:
        """The scans of a batch, as ingest dealt them; before it has run, and for no ``batch``, the mean."""
        table = self.directory / "data" / cohort / "batches.tsv"
        known = read_batches(table) if batch and table.is_file() else {}
        return len(known[batch]) if batch in known else self.cohorts[cohort].scans / self.batches(cohort)

    @property
    def shape(self) -> list[int]:
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
        return [*found.values(), *([weights] if weights else [])]

    def members(self, experiment: str) -> list[str]:
        """The runs that are trained: a member for each fold and seed, and of a sweep for each draw too."""
        settings = self.experiments[experiment]
        members = members_of(settings, self.config["split"]["folds"])
        draws = draws_of(settings["sweep"])
        return [f"{draw}/{member}" for draw in draws for member in members] if draws else members

    def parts(self, experiment: str) -> Parts:
        """Of an experiment; KeyError where there is none of this name."""
        return self._parts[experiment]

    @cached_property
    def _parts(self) -> dict[str, Parts]:
        return {name: self._counted(name) for name in self.experiments}

    def _counted(self, experiment: str) -> Parts:
        """From the experiment's table of samples where there is one; else from the split's shares, before any filter."""
        settings, split = self.experiments[experiment], self.config["split"]
        table = self.directory / "results" / "experiments" / experiment / "samples.tsv"
        if table.is_file():
            counts = read_table(table, required=("part",))["part"].value_counts()
            train, validation, held_out, external = (
                float(counts.get(part, 0)) for part in ("train", "validation", "held-out", "external")
            )
        else:
            total = sum(self._usable(name, settings) for name in settings["cohorts"])
            external = sum(self._usable(name, settings) for name in settings["external"])
            validation, held_out = split["validation"] * total, split["held_out"] * total
            train = total - validation - held_out
        if settings["training"].get("cross_validation"):
            development = train + validation
            validation = development / split["folds"]
            train = development - validation
        return Parts(train, validation, held_out, external)

    def _usable(self, cohort: str, settings: dict) -> float:
        sized = self.cohorts[cohort]
        return sized.labelled if settings["task"] == "segmentation" else sized.scans_with(settings["target"])

    def run_record(self, experiment: str) -> dict:
        """run.json of one of the experiment's networks that is trained already; empty where none is."""
        for path in sorted((self.directory / "results" / "experiments" / experiment).glob("*seed-*/run.json")):
            try:
                return read_json(path)
            except InputError:  # half a file from a full disk: as good as none
                continue
        return {}
