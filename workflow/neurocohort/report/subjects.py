"""One page for each scan: its participant, its status, its mosaic in full size, its quality numbers compared with its cohort, the
predictions of each experiment, and for some scans a viewer of the volume."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment

from neurocohort.imaging.derivatives import NATIVE_SPACE, TEMPLATE_SPACE, labels_name, preproc_name, space_of
from neurocohort.report import labels, viewers
from neurocohort.report.cases import ScanKey, best_median_worst, errors_by_scan
from neurocohort.report.development import DEVELOPMENT, TESTED_ONCE, by_use
from neurocohort.report.quality import Gallery, GalleryCell, GalleryRow
from neurocohort.report.sources import Missing
from neurocohort.report.study import Cohort, Experiment, Study, missing_of

REGISTRATION = {
    *("template_dice", "mutual_information", "registration_starts"),
    *("mask_to_template", "outside_template", "template_shift_mm"),  # of scans in MNI space
}
KINDS = ("Registration", "Volumes", "Image quality")
UNKNOWN = dict.fromkeys(("session_id", "scanner", "age", "sex"))
TEMPLATES = Path(__file__).parent / "templates"
OUT_OF_FOLD = "Out of fold"  # a prediction by the networks of the fold that the scan validates
STRIP = (2.0, 158.0)  # where the axis of a strip plot starts and ends, in its own units


@dataclass(frozen=True)
class Person:
    """The row of a scan in scans.tsv, as far as its page shows it."""

    session_id: str | None = None
    scanner: str | None = None
    age: float | None = None
    sex: str | None = None


@dataclass(frozen=True)
class ScanPrediction:
    """An experiment on one scan: its part, its predictions as a table, the rank of its error in words, and what its prediction
    interval or set means, if it has one."""

    experiment: Experiment
    part: str | None
    missing: list[Missing]
    columns: list[str]
    rows: list[list[str]]
    rank: str
    explained: str


@dataclass(frozen=True)
class Strip:
    """A strip plot: the ends of its axis, the cohort's quartiles, the site's median, and the scan, in its own units."""

    left: float
    right: float
    first: float
    third: float
    median: float | None
    at: float


@dataclass(frozen=True)
class Compared:
    """A quality number of a scan compared with its cohort, as text. ``far``: its robust score where it is unusual."""

    label: str
    text: str
    median: str
    score: str
    far: float | None
    rank: str
    strip: Strip | None


@dataclass(frozen=True)
class Viewer:
    """The HTML page of a viewer, and the experiment whose predicted labels it shows, None without.

    ``colours``: of the structures of the labels; empty for CSF, GM and WM.
    """

    page: str
    experiment: str | None
    colours: Mapping[str, str] = field(default_factory=dict)


def write_pages(study: Study, environment: Environment, galleries: list[Gallery], output: Path, date: str) -> None:
    """Write ``subjects/<cohort>/<scan_id>.html`` for each row of the galleries, and the pages' style sheet.

    A row whose viewer can't be made gets the `Missing` as its ``viewer``, so that the index names it too. Everything else that a
    page lacks has a box on it and another on the index.

    Args:
        study: The study; ``report.viewers`` of its configuration limits how many scans get a viewer.
        environment: Of the templates.
        galleries: One for each cohort.
        output: The report's folder.
        date: Of the report.
    """
    limit = study.block("report").get("viewers", 0)
    (output / "subjects").mkdir(exist_ok=True)
    shutil.copyfile(TEMPLATES / "report.css", output / "subjects" / "report.css")
    predictions = [_Predictions(experiment) for experiment in study.experiments.values()]
    wanted = [key for one in predictions for key in one.cases]
    viewed = set(viewers.chosen(wanted, galleries, limit)) if limit else set()
    template = environment.get_template("subject.html.j2")
    shared = {"study": study.name, "demo": study.demo, "native": study.native, "date": date, "viewer_limit": limit}
    for gallery in galleries:
        cohort = study.cohorts[gallery.cohort]
        people, spread = _people(cohort), _Spread(gallery)
        for index, row in enumerate(gallery.rows):
            viewer = _viewer(cohort, row.scan_id, predictions) if (cohort.name, row.scan_id) in viewed else None
            row.viewer = viewer if isinstance(viewer, Missing) else None
            text = template.render(
                **shared,
                cohort=cohort.name,
                row=row,
                mosaic=_mosaic(cohort, row, output),
                before=gallery.rows[index - 1] if index else None,
                after=gallery.rows[index + 1] if index + 1 < len(gallery.rows) else None,
                place=(index + 1, len(gallery.rows)),
                person=people if isinstance(people, Missing) else people.get(row.scan_id, Person()),
                experiments=[one.of(cohort.name, row.scan_id) for one in predictions],
                numbers=spread.groups(row),
                viewer=viewer,
                first_time=FirstTime(),
            )
            path = output / row.page
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


class FirstTime:
    """Whether a missing item is shown for the first time on a page: several boxes may show it, and one has its anchor."""

    def __init__(self) -> None:
        self.anchors: set[str] = set()

    def __call__(self, item: Missing) -> bool:
        known = item.anchor in self.anchors
        self.anchors.add(item.anchor)
        return not known


@dataclass(frozen=True, eq=False)
class _Predictions:
    """The parts and predictions of an experiment by scan."""

    experiment: Experiment

    @cached_property
    def parts(self) -> dict[ScanKey, str]:
        if isinstance(self.experiment.samples, Missing):
            return {}
        used = by_use(self.experiment.samples, self.experiment.folds)
        name = "test_fold" if "test_fold" in used else "fold"
        fold = used[name] if (self.experiment.folds or name == "test_fold") and name in used else [None] * len(used)
        columns = used["cohort"].astype(str), used["scan_id"].astype(str), used["part"], fold
        return {(cohort, scan_id): _part(part, own) for cohort, scan_id, part, own in zip(*columns, strict=True)}

    @cached_property
    def rows(self) -> dict[ScanKey, list[dict[str, Any]]]:
        found: dict[ScanKey, list[dict[str, Any]]] = {}
        if not isinstance(self.experiment.predictions, Missing):
            table = self.experiment.predictions
            if (
                "test_fold" in table
            ):  # every scan is held out once; its validation rows would come from several test folds
                table = table[table["part"] != "validation"]
            for row in table.to_dict("records"):
                found.setdefault((str(row["cohort"]), str(row["scan_id"])), []).append(row)
        return found

    @cached_property
    def intervals(self) -> dict[ScanKey, str]:
        """The prediction interval or the set of classes of each tested scan as text; empty where the experiment has none."""
        table = self.experiment.intervals
        if isinstance(table, Missing) or table.empty:
            return {}
        if self.experiment.task == "classification":
            known = table.dropna(subset=["set"])
            texts = [named_set(self.experiment.classes, text) for text in known["set"]]
        else:
            known = table.dropna(subset=["interval_low", "interval_high"])
            limits = zip(known["interval_low"], known["interval_high"], strict=True)
            texts = [f"{labels.number(low, 1)} to {labels.number(high, 1)}" for low, high in limits]
        keys = zip(known["cohort"].astype(str), known["scan_id"].astype(str), strict=True)
        return dict(zip(keys, texts, strict=True))

    @cached_property
    def errors(self) -> pd.Series:
        if isinstance(self.experiment.predictions, Missing):
            return pd.Series(dtype=float)
        return errors_by_scan(self.experiment.predictions, self.experiment.task)

    @cached_property
    def ranks(self) -> dict[ScanKey, int]:
        return {(str(key[0]), str(key[1])): rank for rank, key in enumerate(self.errors.index, start=1)}

    @property
    def cases(self) -> list[ScanKey]:
        """The best, the median and the worst scan."""
        return list(best_median_worst(self.errors).values())

    def of(self, cohort: str, scan_id: str) -> ScanPrediction:
        """The experiment on one scan."""
        key, experiment = (cohort, scan_id), self.experiment
        rank = ""
        if key in self.ranks:
            order = "highest mean Dice" if experiment.task == "segmentation" else "smallest error"
            rank = f"Place {self.ranks[key]} of {len(self.ranks)} held-out scans, from the {order} on."
        rows = [self._cells(row) for row in self.rows.get(key, [])]
        missing = missing_of((experiment.samples, experiment.predictions, experiment.intervals))
        return ScanPrediction(
            experiment, self.parts.get(key), missing, self._columns(), rows, rank, self._explained(key)
        )

    def _explained(self, key: ScanKey) -> str:
        """What the scan's interval or set means; empty where it has none."""
        if key not in self.intervals:
            return ""
        if self.experiment.task == "classification":
            return (
                "Of each class, the sets of about 95 % of new participants contain the true class, if these are like the "
                "participants of the training cohorts."
            )
        return (
            "The intervals of about 95 % of new participants contain the true value, if these are like the participants of the "
            "training cohorts."
        )

    def label_map(self, cohort: str, scan_id: str) -> Path | None:
        """The predicted label map of the scan on the study's grid, where the experiment made one."""
        name = labels_name(scan_id, NATIVE_SPACE if self.experiment.native else TEMPLATE_SPACE)
        path = self.experiment.folder / "label_maps" / cohort / name
        return path if path.is_file() else None

    def _columns(self) -> list[str]:
        if self.experiment.task == "segmentation":
            return [self.experiment.structure.capitalize(), "Dice", "Predicted (ml)", "Reference (ml)"]
        unit = labels.unit(self.experiment.target).strip()
        unit = f" ({unit})" if unit else ""
        if self.experiment.task == "regression":
            own = [f"95 % interval{unit}"] if self.intervals else []
            return ["Part", f"True{unit}", f"Predicted{unit}", f"Predicted − true{unit}", *own]
        names, own = self.experiment.classes, ["95 % set"] if self.intervals else []
        several = ["Predicted class", "Its probability"]
        return ["Part", "True class", *(several if len(names) > 2 else [f"Probability of {names[1]}"]), *own]

    def _cells(self, row: dict[str, Any]) -> list[str]:
        if self.experiment.task == "segmentation":
            volumes = [labels.number(row.get(name), 1) for name in ("volume_ml", "reference_ml")]
            return [str(row["tissue"]), labels.number(row["dice"], 3), *volumes]
        part = labels.PARTS.get(row["part"], str(row["part"]))
        if row["part"] == "validation" and self.experiment.folds:
            part = OUT_OF_FOLD
        key = (str(row["cohort"]), str(row["scan_id"])) if row["part"] != "validation" else ("", "")
        interval = [self.intervals.get(key, "–")] if self.intervals else []
        true, predicted = row["target"], row["prediction"]
        if self.experiment.task == "regression":
            return [part, *(labels.number(value, 1) for value in (true, predicted, predicted - true)), *interval]
        names = self.experiment.classes
        if len(names) > 2:
            probability = row.get(f"probability_{predicted:.0f}")
            return [part, _named(names, true), _named(names, predicted), labels.number(probability, 3), *interval]
        return [part, _named(names, true), labels.number(predicted, 3), *interval]


class _Spread:
    """The distribution of a cohort's quality numbers, which each scan is compared with."""

    def __init__(self, gallery: Gallery):
        names = [number.name for number in gallery.numbers]
        table = pd.DataFrame([row.record for row in gallery.rows])
        self.values = {name: np.sort(table[name].dropna().to_numpy(dtype=float)) for name in names}
        self.by_site = table.groupby(table["site"].fillna("unknown"))[names].median() if "site" in table else None

    def groups(self, row: GalleryRow) -> list[tuple[str, list[Compared]]]:
        """The scan's numbers by kind."""
        found: dict[str, list[Compared]] = {kind: [] for kind in KINDS}
        for cell in row.cells:
            name = cell.number.name
            kind = "Registration" if name in REGISTRATION else "Volumes" if name.endswith("_ml") else "Image quality"
            found[kind].append(self._compared(cell, row))
        return [(kind, entries) for kind, entries in found.items() if entries]

    def _compared(self, cell: GalleryCell, row: GalleryRow) -> Compared:
        name, values = cell.number.name, self.values[cell.number.name]
        median = None if self.by_site is None else float(self.by_site.at[row.site or "unknown", name])
        rank = "–" if cell.value is None else f"{int((values < cell.value).sum()) + 1} of {len(values)}"
        return Compared(
            cell.number.label,
            cell.text,
            labels.number(median, cell.number.decimals),
            labels.number(row.record.get(f"{name}_z"), 1),
            cell.z,
            rank,
            None if cell.value is None else _strip(values, float(cell.value), median),
        )


def _strip(values: np.ndarray, value: float, median: float | None) -> Strip | None:
    """The strip plot of a number; None where all scans have the same value."""
    low, high = values[0], values[-1]
    if not high > low:
        return None

    def place(number: float) -> float:
        return round(STRIP[0] + (STRIP[1] - STRIP[0]) * (number - low) / (high - low), 1)

    first, third = (place(float(np.quantile(values, fraction))) for fraction in (0.25, 0.75))
    at_median = place(float(median)) if median is not None and labels.is_number(median) else None
    return Strip(*STRIP, first, third, at_median, place(value))


def _mosaic(cohort: Cohort, row: GalleryRow, output: Path) -> str:
    """The scan's mosaic in full size, from its page."""
    full = output / "subjects" / cohort.name / f"{row.scan_id}.webp"
    return full.name if full.is_file() else f"../../mosaics/{cohort.name}/{row.scan_id}.webp"


def _people(cohort: Cohort) -> dict[str, Person] | Missing:
    """By scan_id."""
    if isinstance(cohort.scans, Missing):
        return cohort.scans
    table = cohort.scans.astype(object).where(cohort.scans.notna(), None)
    names = [name for name in Person.__dataclass_fields__ if name in table]
    return {str(row["scan_id"]): Person(**{name: row[name] for name in names}) for row in table.to_dict("records")}


def _viewer(cohort: Cohort, scan_id: str, predictions: list[_Predictions]) -> Viewer | Missing:
    what = f"the volume viewer of {scan_id}"
    record = cohort.scan_record(scan_id, what)
    if isinstance(record, Missing):
        return record
    scan = cohort.scan_file(record, scan_id, "preproc_T1w", preproc_name(scan_id, "T1w", space_of(record.files)))
    if not scan.is_file():
        return cohort.sources.lack(scan, what)
    maps = [(one.experiment, path) for one in predictions if (path := one.label_map(cohort.name, scan_id))]
    experiment, label_map = maps[0] if maps else (None, None)
    try:
        volume = viewers.read_volume(scan, label_map)
    except viewers.UNREADABLE as error:
        return cohort.sources.lack(scan, what, f"The image can't be read: {error}.")
    if experiment is None:
        return Viewer(viewers.viewer_page(*volume), None)
    colours = {} if experiment.structure == "tissue" else viewers.colours_of(experiment.structures)
    return Viewer(viewers.viewer_page(*volume, experiment.structures), experiment.heading, colours)


def _part(part: str, fold: object) -> str:
    """The part of a scan in words: ``Development, fold 2`` where folds divide it; ``Held out once, in test fold 2``."""
    words = labels.PARTS.get(part, part)
    if part == TESTED_ONCE and labels.is_number(fold):
        return f"{words}, in test fold {int(fold)}"
    return f"{words}, fold {int(fold)}" if part == DEVELOPMENT and labels.is_number(fold) else words


def _named(names: list[str], code: object) -> str:
    return names[int(code)] if labels.is_number(code) and 0 <= int(code) < len(names) else "–"


def named_set(names: list[str], text: str) -> str:
    """A set such as ``{0, 1}`` with the names of its classes: ``healthy or ill``; ``no class`` where it is empty."""
    codes = [code for code in text.strip("{}").split(",") if code]
    return " or ".join(_named(names, float(code)) for code in codes) or "no class"
