"""The study as the report sees it: its configuration, and every table and record of its results.

Each file is read at its first use and kept, so that no section reads one again. What can't be read is a `Missing`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pandas as pd

from neurocohort.imaging.derivatives import qc_path, scan_folder
from neurocohort.notes import NOTE_COLUMNS
from neurocohort.report import formats, labels, origins
from neurocohort.report.formats import Control, RegionRecord, Run, SaliencyRecord, ScanRecord
from neurocohort.report.networks import Networks, spelt
from neurocohort.report.sources import Missing, Sources
from neurocohort.settings.pretraining import PRETRAINING
from neurocohort.settings.scan import NATIVE
from neurocohort.settings.translation import TRANSLATION
from neurocohort.structures import TISSUES
from neurocohort.study.members import members_of, without_site_names

Read: TypeAlias = pd.DataFrame | Missing  # a table, or why there is none
Found = TypeVar("Found")


@dataclass(frozen=True)
class Package:
    """A package of the lock; ``installed`` is its version here, None where it isn't installed."""

    name: str
    locked: str
    installed: str | None


@dataclass(frozen=True)
class Folders:
    """Where the run's files are."""

    results: Path
    data: Path = Path("data")
    benchmarks: Path = Path("benchmarks")
    lock: Path = Path("envs/requirements.txt")

    @property
    def resources(self) -> Path:
        """The downloaded archives."""
        return self.data.parent / "resources"

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that pages show by their last name only, so that no page has a path of one machine."""
        return self.results, self.data, self.benchmarks, self.lock.parent, self.resources


@dataclass(frozen=True, eq=False)
class Cohort:
    """A cohort: its block of the configuration, and its tables in ``data/<name>`` and ``results/<name>``.

    ``native``: whether its scans are in their own space, and not registered to the template.
    """

    name: str
    settings: dict
    data: Path
    results: Path
    sources: Sources = field(repr=False)
    native: bool = False

    @property
    def title(self) -> str:
        """Its published name where it has one."""
        return labels.cohort(self.name)

    @property
    def source(self) -> str:
        return self.settings.get("source", "")

    @property
    def synthetic(self) -> bool:
        return origins.synthetic(self.settings)

    @cached_property
    def scans(self) -> Read:
        return self.sources.table(self.data / "scans.tsv", self._flow, ("participant_id", "scan_id"))

    @cached_property
    def ingest_exclusions(self) -> Read:
        """Scans that were excluded at ingest; may have no rows."""
        return self.sources.table(
            self.data / "exclusions.tsv", self._flow, formats.EXCLUSION_COLUMNS, may_be_empty=True
        )

    @cached_property
    def exclusions(self) -> Read:
        """Scans that were excluded at any stage; may have no rows."""
        return self.sources.table(
            self.results / "exclusions.tsv", self._flow, formats.EXCLUSION_COLUMNS, may_be_empty=True
        )

    @cached_property
    def quality(self) -> Read:
        what = f"the quality table of {self.title}"
        return self.sources.table(self.results / "qc.tsv", what, ("scan_id", "status"))

    @cached_property
    def split(self) -> Read:
        return self.sources.table(self.results / "split.tsv", f"the split of {self.title}", ("participant_id", "part"))

    @cached_property
    def notes(self) -> dict[Path, Read]:
        """The notes of ingest and of preprocessing, by file; each may have no rows."""
        paths = (self.data / "notes.tsv", self.results / "notes.tsv")
        what = f"the notes on {self.title}"
        return {path: self.sources.table(path, what, NOTE_COLUMNS, may_be_empty=True) for path in paths}

    @cached_property
    def variables(self) -> Mapping[str, Any]:
        """participants.json by variable; empty where it isn't there."""
        return self.sources.optional(self.data / "participants.json")

    @cached_property
    def licence(self) -> str:
        """The licence in dataset_description.json; empty where it isn't known."""
        if self.synthetic:
            return "synthetic scans that the workflow painted, free of terms"
        return str(self.sources.optional(self.data / "dataset_description.json").get("License") or "")

    def scan_record(self, scan_id: str, what: str) -> ScanRecord | Missing:
        """The record of a scan, expected for ``what``."""
        return self.sources.record(qc_path(self.results / "preproc", scan_id), what, ScanRecord)

    def scan_file(self, record: ScanRecord, scan_id: str, kind: str, usual: str) -> Path:
        """A scan's file of some kind; its name is ``usual`` where the record doesn't name it."""
        return scan_folder(self.results / "preproc", scan_id) / record.files.get(kind, usual)

    @property
    def _flow(self) -> str:
        return f"the flow of participants of {self.title}"


@dataclass(frozen=True, eq=False)
class Experiment:
    """An experiment: its block of the configuration, and its tables and records in ``results/experiments/<name>``.

    ``folds``: of its cross-validation, 0 without. ``left_out_site``: of one that is trained without a site, else empty.
    ``test_folds``: their number, 0 without. ``by_region``: whether the importance of atlas regions is measured.
    """

    name: str
    settings: dict
    folds: int
    folder: Path
    cohorts: tuple[Cohort, ...]
    external: tuple[Cohort, ...]
    sources: Sources = field(repr=False)
    left_out_site: str = ""
    test_folds: int = 0
    by_region: bool = False

    @property
    def heading(self) -> str:
        """Its name as a heading: ``Brain age``."""
        return labels.spaced(self.name)

    @property
    def title(self) -> str:
        """Its name within a sentence: ``brain age``."""
        return labels.in_text(self.name)

    @property
    def task(self) -> str:
        return self.settings["task"]

    @property
    def native(self) -> bool:
        """Whether the scans are in their own space, and not registered to the template."""
        return any(cohort.native for cohort in self.cohorts)

    @property
    def target(self) -> str:
        """The variable that is predicted."""
        return self.settings.get("target", "")

    @property
    def classes(self) -> list[str]:
        """The classes of a classification in words, class 0 first."""
        return labels.classes(self.settings)

    @cached_property
    def structures(self) -> tuple[str, ...]:
        """The structures that a segmentation predicts, label 1 first, from the record of its training."""
        runs = (run for run in self.runs.values() if isinstance(run, Run))
        return next((tuple(run.task["structures"]) for run in runs if "structures" in run.task), TISSUES)

    @property
    def structure(self) -> str:
        """What a structure is called: tissue for CSF, GM and WM."""
        return "tissue" if self.structures == TISSUES else "structure"

    @property
    def shown_target(self) -> str:
        """The target, or ``structures`` for a segmentation of other structures than the tissues."""
        return self.target if self.task != "segmentation" or self.structure == "tissue" else "structures"

    @property
    def training(self) -> Mapping[str, Any]:
        return self.settings.get("training") or {}

    @property
    def members(self) -> list[str]:
        """The folders of its networks, such as ``seed-1`` or ``fold-2_seed-1``."""
        if self.training.get("seeds"):
            return members_of(self.settings, self.folds, self.test_folds)
        return sorted(path.name for path in self.folder.glob("seed-*"))

    @cached_property
    def samples(self) -> Read:
        return self._table("samples.tsv", "the participants", formats.SAMPLE_COLUMNS)

    @cached_property
    def flow(self) -> Read:
        return self._table("flow.tsv", "the flow of participants", formats.FLOW_COLUMNS)

    @cached_property
    def metrics(self) -> Read:
        return self._table("metrics.tsv", "the metrics", formats.METRIC_COLUMNS)

    @cached_property
    def comparisons(self) -> Read:
        return self._table("comparisons.tsv", "the differences to the baselines", formats.COMPARISON_COLUMNS)

    @cached_property
    def predictions(self) -> Read:
        return self._table("predictions.tsv", "the predictions", formats.PREDICTION_COLUMNS[self.task])

    @cached_property
    def applied(self) -> Read:
        """Scans that only get predictions (of a segmentation, that are not used); may have no rows."""
        file = "applied_samples.tsv" if self.task == "segmentation" else "applied.tsv"
        columns = formats.APPLIED_COLUMNS[self.task]
        return self._table(file, "the scans that only get predictions", columns, may_be_empty=True)

    @cached_property
    def intervals(self) -> Read:
        """The prediction intervals or sets of tested scans; without rows for a segmentation, and perhaps for other tasks."""
        if self.task == "segmentation":
            return pd.DataFrame()
        columns = formats.INTERVAL_COLUMNS[self.task]
        return self._table("intervals.tsv", "the prediction intervals", columns, may_be_empty=True)

    @cached_property
    def baselines(self) -> Read:
        """The baselines' predictions; may have no rows."""
        columns = ("model", *formats.PREDICTION_COLUMNS[self.task])
        return self._table("baselines.tsv", "the baselines", columns, may_be_empty=True)

    @cached_property
    def given(self) -> Read | None:
        """Predictions from elsewhere; None where it has none. May have no rows."""
        columns = ("model", *formats.PREDICTION_COLUMNS[self.task])
        return self._of_given("predictors.tsv", "the predictions from elsewhere", columns)

    @cached_property
    def given_notes(self) -> Read | None:
        """The notes on predictions from elsewhere; None where it has none. May have no rows."""
        return self._of_given("notes.tsv", "the notes on predictions from elsewhere", NOTE_COLUMNS)

    @cached_property
    def details(self) -> Read:
        """Secondary results; may have no rows."""
        columns = (*formats.METRIC_COLUMNS, "setting", "note")
        return self._table("details.tsv", "the details of the results", columns, may_be_empty=True)

    @cached_property
    def spread(self) -> Read:
        """How the metrics differ between the networks; may have no rows."""
        return self._table("spread.tsv", "the spread over the members", formats.SPREAD_COLUMNS, may_be_empty=True)

    @cached_property
    def repeatability(self) -> Read:
        """How a regression differs between the sessions of a participant; no rows without repeated sessions."""
        what, columns = "the repeatability", formats.REPEATABILITY_COLUMNS
        return self._table("repeatability.tsv", what, columns, may_be_empty=True)

    @cached_property
    def confusion(self) -> Read:
        """The confusion matrices; without rows for a task other than classification."""
        return self._of_classification("confusion.tsv", "the confusion matrix", formats.CONFUSION_COLUMNS)

    @cached_property
    def curves(self) -> Read:
        """Points of the curves; without rows for a classification of more than two classes and for other tasks."""
        return self._of_classification("curves.tsv", "the curves", formats.CURVE_COLUMNS)

    @cached_property
    def shift(self) -> Read:
        what = f"the row of {self.name} in the matrix of training and test"
        return self.sources.table(self.folder / "shift.tsv", what, formats.SHIFT_COLUMNS)

    @cached_property
    def networks(self) -> Networks | Missing:
        what = f"what the networks of {self.name} learned"
        table = self.sources.table(self.folder / "networks.tsv", what, formats.NETWORK_COLUMNS)
        return table if isinstance(table, Missing) else Networks(table)

    @cached_property
    def sweep(self) -> Read | None:
        """The draws of its sweep; None where it has none."""
        return (
            self._table("sweep/sweep.tsv", "the sweep", formats.SWEEP_COLUMNS) if self.settings.get("sweep") else None
        )

    @cached_property
    def control(self) -> Control | Missing | None:
        """The result of its controls; None where it has none."""
        if not self.settings.get("control"):
            return None
        return self.sources.record(self.folder / "control.json", f"the control of {self.name}", Control)

    @cached_property
    def learning_curve(self) -> Read | None:
        """Applied, fine-tuned and trained from random weights; None where that isn't asked for. May have no rows."""
        if not self.settings.get("learning_curve"):
            return None
        columns = formats.LEARNING_CURVE_COLUMNS
        return self._table("learning_curve.tsv", "the learning curve over participants", columns, may_be_empty=True)

    @cached_property
    def adaptation(self) -> Read | None:
        """Ways to adapt to new sites, compared; None where that isn't asked for."""
        if not self.settings.get("adaptation"):
            return None
        return self._table("adaptation.tsv", "the adaptation to new sites", formats.ADAPTATION_COLUMNS)

    @cached_property
    def few_labels(self) -> Read | None:
        """With and without scans that have no label map; None for an experiment that learns from labels only."""
        if not self.settings.get("semi_supervised"):
            return None
        columns = formats.FEW_LABELS_COLUMNS
        return self._table("few_labels.tsv", "what scans without a label map brought", columns, may_be_empty=True)

    @cached_property
    def generation(self) -> Read | None:
        """What generated images are worth; None for an experiment without a generative model."""
        if not self.settings.get("generation") or self.left_out_site:
            return None
        columns = formats.GENERATION_COLUMNS
        return self._table(
            "generation.tsv", "the comparison of generated images with scans", columns, may_be_empty=True
        )

    @cached_property
    def counterfactual(self) -> Read | None:
        """What a changed target changes in held-out scans; None where that isn't asked for."""
        if not (self.settings.get("generation") or {}).get("counterfactual") or self.left_out_site:
            return None
        what = "the held-out scans with a changed target"
        return self._table("counterfactual.tsv", what, formats.GENERATION_COLUMNS)

    @cached_property
    def translation(self) -> Read:
        """The metrics of predicted images, of a translation."""
        return self._table("translation.tsv", "the metrics of the predicted images", formats.TRANSLATION_COLUMNS)

    @cached_property
    def saliency(self) -> SaliencyRecord | Missing:
        what = f"the saliency map of {self.name}"
        return self.sources.record(self.folder / "saliency" / "saliency.json", what, SaliencyRecord)

    @cached_property
    def regions(self) -> Read | None:
        """The importance of atlas regions; None where that isn't asked for."""
        if not self.by_region or self.left_out_site:
            return None
        return self._table("regions.tsv", "the importance of regions", formats.REGION_COLUMNS)

    @cached_property
    def region_record(self) -> RegionRecord | Missing | None:
        """How it was measured; None where it isn't asked for."""
        if not self.by_region or self.left_out_site:
            return None
        return self.sources.record(
            self.folder / "regions.json", f"the importance of regions of {self.name}", RegionRecord
        )

    @cached_property
    def runs(self) -> dict[str, Run | Missing]:
        """The facts of each training, by member."""
        return {
            member: self.sources.record(
                self.folder / member / "run.json",
                f"the facts of the training of {self.name}, {spelt(member)}",
                Run,
            )
            for member in self.members
        }

    @cached_property
    def histories(self) -> dict[str, Read]:
        """The losses of each training by epoch, by member."""
        return {
            member: self._table(f"{member}/history.tsv", "the learning curve", formats.HISTORY_COLUMNS, spelt(member))
            for member in self.members
        }

    def _table(
        self, file: str, what: str, columns: tuple[str, ...], member: str = "", *, may_be_empty: bool = False
    ) -> Read:
        what = ", ".join(filter(None, [f"{what} of {self.name}", member]))
        return self.sources.table(self.folder / file, what, columns, may_be_empty=may_be_empty)

    def _of_given(self, file: str, what: str, columns: tuple[str, ...]) -> Read | None:
        return self._table(file, what, columns, may_be_empty=True) if self.settings.get("predictors") else None

    def _of_classification(self, file: str, what: str, columns: tuple[str, ...]) -> Read:
        if self.task != "classification":
            return pd.DataFrame(columns=list(columns))
        return self._table(file, what, columns, may_be_empty=True)


@dataclass(frozen=True, eq=False)
class Study:
    """The whole study. ``configuration``: as validated; ``command``: the command line of the run; ``sources``: the ledger of
    what is missing; ``pretrainings`` (which predict nothing) and ``translations`` (which predict images): experiments that
    ``experiments`` lacks."""

    configuration: dict
    folders: Folders
    command: str
    sources: Sources = field(repr=False)
    cohorts: dict[str, Cohort]
    experiments: dict[str, Experiment]
    pretrainings: dict[str, Experiment] = field(default_factory=dict)
    translations: dict[str, Experiment] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.configuration["study"]

    @property
    def demo(self) -> bool:
        """Whether its data are synthetic, for demonstration only."""
        return bool(self.configuration.get("demo_data"))

    @property
    def native(self) -> bool:
        """Whether the scans are in their own space, and not registered to the template."""
        return self.block("preprocessing").get("space") == NATIVE

    def block(self, name: str) -> Mapping[str, Any]:
        """A block of the configuration; empty where it isn't there."""
        return self.configuration.get(name) or {}

    @property
    def trained(self) -> list[Experiment]:
        """The experiments, the pretrainings and the translations."""
        return [*self.experiments.values(), *self.pretrainings.values(), *self.translations.values()]

    @cached_property
    def with_derived(self) -> list[Experiment]:
        """The experiments, each followed by those that its ``leave_one_site_out`` asks for."""
        found = []
        for experiment in self.experiments.values():
            found.append(experiment)
            sites = experiment.settings.get("leave_one_site_out") or []
            for name, site in without_site_names(experiment.name, sites).items():
                found.append(_experiment(self, name, experiment.settings, site))
        return found

    @cached_property
    def packages(self) -> tuple[Package, ...] | Missing:
        """The packages of the lock, by name."""
        lock, what = self.folders.lock, "the versions of the packages"
        if not lock.is_file():
            return self.sources.lack(lock, what)
        text = lock.read_text(encoding="utf-8")
        pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE)
        if not pins:
            return self.sources.lack(lock, what, "No line of it pins a package as name==version.")
        ordered = sorted(pins, key=lambda pin: pin[0].lower())
        return tuple(Package(name, locked, _installed(name)) for name, locked in ordered)

    @property
    def versions(self) -> dict[str, str]:
        """The installed versions by package, in lower case."""
        packages = [] if isinstance(self.packages, Missing) else self.packages
        return {one.name.lower(): one.installed for one in packages if one.installed}


def read_study(folders: Folders, configuration: dict, command: str = "") -> Study:
    """The study of a validated ``configuration``, whose results are in ``folders``.

    Args:
        folders: Where the run's files are.
        configuration: The whole configuration, as validated.
        command: The command line of the run.
    """
    study = Study(configuration, folders, command, Sources(folders.roots), {}, {})
    for name in study.block("cohorts"):
        study.cohorts[name] = _cohort(study, name)
    for name, settings in study.block("experiments").items():
        kinds = {PRETRAINING: study.pretrainings, TRANSLATION: study.translations}
        kinds.get(str(settings.get("task")), study.experiments)[name] = _experiment(study, name, settings)
    return study


def found(item: Found | Missing) -> Found | None:
    """``item``, or None where it is missing."""
    return None if isinstance(item, Missing) else item


def missing_of(items: Iterable[object]) -> list[Missing]:
    """Those of ``items`` that are missing."""
    return [item for item in items if isinstance(item, Missing)]


def _cohort(study: Study, name: str) -> Cohort:
    if name in study.cohorts:
        return study.cohorts[name]
    folders = study.folders
    settings = study.block("cohorts").get(name) or {}
    return Cohort(name, settings, folders.data / name, folders.results / name, study.sources, study.native)


def _experiment(study: Study, name: str, settings: dict, left_out_site: str = "") -> Experiment:
    folded = (settings.get("training") or {}).get("cross_validation")
    return Experiment(
        name,
        settings,
        int(study.block("split").get("folds", 0)) if folded else 0,
        study.folders.results / "experiments" / name,
        tuple(_cohort(study, cohort) for cohort in settings.get("cohorts") or ()),
        tuple(_cohort(study, cohort) for cohort in settings.get("external") or ()),
        study.sources,
        left_out_site,
        int(study.block("split").get("test_folds", 0)),
        bool(study.block("saliency").get("regions")) and settings.get("task") in ("regression", "classification"),
    )


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
