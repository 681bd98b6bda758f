"""One page a scan: who it is, what became of it, its mosaic in full size, its quality numbers against its cohort, what each
experiment predicted for it, and for some scans a viewer of the volume."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment

from neurocohort.imaging.derivatives import labels_name, preproc_name, qc_path, scan_folder
from neurocohort.report import labels, viewers
from neurocohort.report.development import DEVELOPMENT, by_use, folds_of
from neurocohort.report.sources import Missing, Sources

REGISTRATION = ("template_dice", "mutual_information", "registration_starts")
REGISTRATION += ("mask_to_template", "outside_template", "template_shift_mm")  # of scans in MNI space
KINDS = ("Registration", "Volumes", "Image quality")
UNKNOWN = dict.fromkeys(("session_id", "scanner", "age", "sex"))
TEMPLATES = Path(__file__).parent / "templates"
OUT_OF_FOLD = "Out of fold"  # of a prediction by the networks of the fold that the scan validates
STRIP = (2.0, 158.0)  # where a strip plot's axis starts and ends, in its own units


def write_pages(
    sources: Sources,
    environment: Environment,
    *,
    data: Path,
    results: Path,
    experiments: dict[str, dict],
    galleries: list[dict],
    output: Path,
    configuration: dict,
    **shared: object,
) -> None:
    """Write ``subjects/<cohort>/<scan_id>.html`` under ``output`` for each row of ``galleries``, and the pages' style sheet.

    ``galleries`` are those of `quality.gallery`; a row whose viewer can't be made gets the ``Missing`` as its ``viewer``, so that
    the index names it too. What else a page lacks is boxed on it; the index has these files in boxes of its own.
    ``configuration``: its ``report.viewers`` is how many scans get a viewer. ``shared``: study, demo and date, which every page
    shows.
    """
    viewer_limit = (configuration.get("report") or {}).get("viewers", 0)
    (output / "subjects").mkdir(exist_ok=True)
    shutil.copyfile(TEMPLATES / "report.css", output / "subjects" / "report.css")
    quiet = Sources(sources.roots)
    told = [
        _Experiment(quiet, results, name, settings, folds_of(settings, configuration))
        for name, settings in experiments.items()
    ]
    wanted = [case for experiment in told for case in experiment.cases]
    viewed = set(viewers.chosen(wanted, galleries, viewer_limit)) if viewer_limit else set()
    template = environment.get_template("subject.html.j2")
    for gallery in galleries:
        cohort, rows = gallery["cohort"], gallery["rows"]
        if not rows:
            continue
        people = _people(quiet, data, cohort)
        spread = _Spread(
            pd.DataFrame([row["record"] for row in rows]), [column["name"] for column in gallery["columns"]]
        )
        for index, row in enumerate(rows):
            page = None
            if (cohort, row["scan_id"]) in viewed:
                page = _viewer(sources, results, cohort, row["scan_id"], told)
                row["viewer"] = page if isinstance(page, Missing) else None
            full = output / "subjects" / cohort / f"{row['scan_id']}.webp"
            boxed: set[str] = set()
            text = template.render(
                **shared,
                cohort=cohort,
                row=row,
                mosaic=full.name if full.is_file() else f"../../mosaics/{cohort}/{row['scan_id']}.webp",
                before=rows[index - 1] if index else None,
                after=rows[index + 1] if index + 1 < len(rows) else None,
                place=(index + 1, len(rows)),
                person=people if isinstance(people, Missing) else UNKNOWN | people.get(row["scan_id"], {}),
                experiments=[experiment.of(cohort, row["scan_id"]) for experiment in told],
                numbers=spread.groups(row),
                viewer=page,
                viewer_limit=viewer_limit,
                first_time=lambda item, boxed=boxed: item.anchor not in boxed and not boxed.add(item.anchor),
            )
            path = output / row["page"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


class _Experiment:
    """What one experiment knows of each scan; ``folds``: of its cross-validation, 0 without."""

    def __init__(self, quiet: Sources, results: Path, name: str, settings: dict, folds: int):
        self.name, self.settings, self.task, self.folds = name, settings, settings["task"], folds
        self.folder = results / "experiments" / name
        measured = ("tissue", "dice") if self.task == "segmentation" else ("target", "prediction")
        self.samples = quiet.table(
            self.folder / "samples.tsv", f"the participants of {name}", ("cohort", "scan_id", "part")
        )
        self.predictions = quiet.table(
            self.folder / "predictions.tsv", f"the predictions of {name}", ("cohort", "part", "scan_id", *measured)
        )
        self.parts, self.rows, self.ranks, self.cases = {}, {}, {}, []
        if not isinstance(self.samples, Missing):
            used = by_use(self.samples, folds)
            keys = zip(used["cohort"].astype(str), used["scan_id"].astype(str), strict=True)
            fold = used["fold"] if folds and "fold" in used else [None] * len(used)
            parts = [_part(*place) for place in zip(used["part"], fold, strict=True)]
            self.parts = dict(zip(keys, parts, strict=True))
        if not isinstance(self.predictions, Missing):
            for record in self.predictions.to_dict("records"):
                self.rows.setdefault((str(record["cohort"]), str(record["scan_id"])), []).append(record)
            errors = viewers.errors_by_scan(self.predictions, self.task)
            self.ranks = {tuple(map(str, key)): place for place, key in enumerate(errors.index, start=1)}
            self.cases = list(viewers.cases(errors).values())

    def of(self, cohort: str, scan_id: str) -> dict:
        """The experiment on one scan: its part, the truth and the prediction, and the place of its error among all."""
        key = (cohort, scan_id)
        part = self.parts.get(key)
        rows = self.rows.get(key, [])
        rank = ""
        if key in self.ranks:
            what = "mean Dice" if self.task == "segmentation" else "error"
            order = "highest" if self.task == "segmentation" else "smallest"
            rank = f"Place {self.ranks[key]} of {len(self.ranks)} held-out scans, from the {order} {what} on."
        return {
            "title": labels.spaced(self.name),
            "task": self.task,
            "part": part,
            "folds": self.folds,
            "missing": [item for item in (self.samples, self.predictions) if isinstance(item, Missing)],
            "columns": self._columns(),
            "rows": [self._cells(row) for row in rows],
            "rank": rank,
        }

    def label_map(self, cohort: str, scan_id: str) -> Path | None:
        """The predicted label map of the scan on the study's grid, where the experiment made one."""
        path = self.folder / "label_maps" / cohort / labels_name(scan_id)
        return path if path.is_file() else None

    def _columns(self) -> list[str]:
        if self.task == "segmentation":
            return ["Tissue", "Dice", "Predicted (ml)", "Reference (ml)"]
        unit = labels.unit(self.settings.get("target", "")).strip()
        unit = f" ({unit})" if unit else ""
        if self.task == "regression":
            return ["Part", f"True{unit}", f"Predicted{unit}", f"Predicted − true{unit}"]
        names = labels.classes(self.settings)
        several = ["Predicted class", "Its probability"]
        return ["Part", "True class", *(several if len(names) > 2 else [f"Probability of {names[1]}"])]

    def _cells(self, row: dict) -> list[str]:
        if self.task == "segmentation":
            volumes = [labels.number(row.get(name), 1) for name in ("volume_ml", "reference_ml")]
            return [str(row["tissue"]), labels.number(row["dice"], 3), *volumes]
        validated = OUT_OF_FOLD if self.folds else labels.PARTS["validation"]
        part = validated if row["part"] == "validation" else labels.PARTS.get(row["part"], str(row["part"]))
        true, predicted = row["target"], row["prediction"]
        if self.task == "regression":
            return [part, *(labels.number(value, 1) for value in (true, predicted, predicted - true))]
        names = labels.classes(self.settings)
        if len(names) > 2:
            probability = row.get(f"probability_{predicted:.0f}")
            return [part, _named(names, true), _named(names, predicted), labels.number(probability, 3)]
        return [part, _named(names, true), labels.number(predicted, 3)]


class _Spread:
    """How the numbers of a cohort's scans spread, so that each scan's can be put beside them."""

    def __init__(self, table: pd.DataFrame, names: list[str]):
        self.values = {name: np.sort(table[name].dropna().to_numpy(dtype=float)) for name in names}
        self.by_site = table.groupby(table["site"].fillna("unknown"))[names].median() if "site" in table else None

    def groups(self, row: dict) -> list[tuple[str, list[dict]]]:
        """The scan's numbers by kind: label, value, the site's median, robust score, rank in the cohort, and strip plot."""
        found: dict[str, list[dict]] = {kind: [] for kind in KINDS}
        site = row["site"] or "unknown"
        for (name, values), cell in zip(self.values.items(), row["cells"], strict=True):
            value, score = row["record"][name], row["record"].get(f"{name}_z")
            median = None if self.by_site is None else float(self.by_site.at[site, name])
            places = labels.decimals_for(list(values))
            entry = {
                "label": labels.quality(name),
                "text": cell["text"],
                "median": labels.number(median, places),
                "score": labels.number(score, 1),
                "far": cell["z"],
                "rank": "–",
                "strip": None,
            }
            if labels.is_number(value):
                entry["rank"] = f"{int((values < value).sum()) + 1} of {len(values)}"
                entry["strip"] = _strip(values, float(value), median)
            kind = "Registration" if name in REGISTRATION else "Volumes" if name.endswith("_ml") else "Image quality"
            found[kind].append(entry)
        return [(kind, entries) for kind, entries in found.items() if entries]


def _strip(values: np.ndarray, value: float, median: float | None) -> dict | None:
    """Places of the strip plot's parts: the cohort's least and largest value, its quartiles, the site's median, the scan."""
    low, high = values[0], values[-1]
    if not high > low:
        return None

    def place(number: float) -> float:
        return round(STRIP[0] + (STRIP[1] - STRIP[0]) * (number - low) / (high - low), 1)

    first, third = (place(float(np.quantile(values, share))) for share in (0.25, 0.75))
    at = place(median) if labels.is_number(median) else None
    return {"left": STRIP[0], "right": STRIP[1], "first": first, "third": third, "median": at, "at": place(value)}


def _people(quiet: Sources, data: Path, cohort: str) -> dict[str, dict] | Missing:
    """The rows of the cohort's scans.tsv by scan_id."""
    table = quiet.table(
        data / cohort / "scans.tsv", f"age and sex of the scans of {labels.cohort(cohort)}", ("scan_id",)
    )
    if isinstance(table, Missing):
        return table
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    return {str(record["scan_id"]): record for record in records}


def _viewer(sources: Sources, results: Path, cohort: str, scan_id: str, told: list[_Experiment]) -> dict | Missing:
    preproc = results / cohort / "preproc"
    what = f"the volume viewer of {scan_id}"
    record = sources.record(qc_path(preproc, scan_id), what)
    if isinstance(record, Missing):
        return record
    listed = (record.get("outputs") or {}).get("preproc_T1w")
    scan = scan_folder(preproc, scan_id) / (Path(listed["file"]).name if listed else preproc_name(scan_id, "T1w"))
    if not scan.is_file():
        return sources.lack(scan, what)
    maps = [(experiment.name, path) for experiment in told if (path := experiment.label_map(cohort, scan_id))]
    name, label_map = maps[0] if maps else (None, None)
    try:
        volume = viewers.read_volume(scan, label_map)
    except viewers.UNREADABLE as error:
        return sources.lack(scan, what, f"The image can't be read: {error}.")
    return {"page": viewers.viewer_page(*volume), "experiment": name and labels.spaced(name)}


def _part(part: str, fold: object) -> str:
    """The part of a scan in words: ``Development, fold 2`` where folds divide it."""
    words = labels.PARTS.get(part, part)
    return f"{words}, fold {int(fold)}" if part == DEVELOPMENT and labels.is_number(fold) else words


def _named(names: list[str], code: object) -> str:
    return names[int(code)] if labels.is_number(code) and 0 <= int(code) < len(names) else "–"
