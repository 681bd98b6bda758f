"""The tables behind the page, as files to download."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from neurocohort.files import write_table
from neurocohort.report import labels
from neurocohort.report.participants import CohortFlow
from neurocohort.report.study import Study

TABLES = {  # by file, what it has
    "qc.tsv": "quality numbers of every scan",
    "exclusions.tsv": "excluded scans with stage and reason",
    "split.tsv": "the part of every participant",
    "flow.tsv": "scans and participants left after each step",
    "samples.tsv": "the scans of the experiment and their parts",
    "metrics.tsv": "metrics with 95 % intervals, every model and group",
    "comparisons.tsv": "the network minus each baseline, paired, with 95 % intervals",
    "details.tsv": "secondary results, and how each row was computed",
    "curves.tsv": "points of the curves with their bands",
    "confusion.tsv": "confusion matrices",
    "shift.tsv": "the headline metric by tested cohort and site",
    "spread.tsv": "the spread over seeds and folds",
    "repeatability.tsv": "how predictions repeat between the sessions of a participant",
    "intervals.tsv": "95 % prediction interval or set of classes of every tested scan",
    "evaluation_notes.tsv": "notes on the evaluation",
    "predictions.tsv": "the network's predictions",
    "baselines.tsv": "the baselines' predictions",
    "predictors.tsv": "predictions from elsewhere",
    "regions.tsv": "what hiding each region of the atlas changes, beside networks with random weights",
}


@dataclass(frozen=True)
class Download:
    """A table in the report's folder ``tables``: its path from the page, the cohort or experiment that it is of, what it has,
    and its size."""

    file: str
    of: str
    text: str
    bytes: int


def write_downloads(study: Study, flows: list[CohortFlow], output: Path) -> list[Download]:
    """Put the tables into ``tables/`` under ``output``; those without rows are left out."""
    (output / "tables").mkdir()
    folders = [(one.results, one.name, one.title) for one in study.cohorts.values()]
    folders += [(one.folder, one.name, one.heading) for one in study.experiments.values()]
    applied = study.folders.results / "applied_models"
    folders += [(applied / name, f"applied_{name}", labels.spaced(name)) for name in study.block("models")]
    longitudinal = study.folders.results / "longitudinal"
    folders += [
        (longitudinal / name, f"longitudinal_{name}", labels.spaced(name)) for name in study.block("longitudinal")
    ]
    written = []
    for folder, name, title in folders:
        for kind, text in TABLES.items():
            if _has_rows(folder / kind):
                target = output / "tables" / f"{name}_{kind}"
                shutil.copyfile(folder / kind, target)
                written.append(_download(target, title, text))
    for flow in flows:
        if flow.comparison is not None and not flow.comparison.rows.empty:
            target = output / "tables" / f"{flow.cohort}_excluded.tsv"
            write_table(target, flow.comparison.rows)
            title = study.cohorts[flow.cohort].title
            written.append(_download(target, title, "excluded participants against those kept, with tests"))
    return written


def _download(path: Path, of: str, text: str) -> Download:
    return Download(f"tables/{path.name}", of, text, path.stat().st_size)


def _has_rows(table: Path) -> bool:
    """Whether there is a line after the header: a regression's confusion.tsv has none."""
    if not table.is_file():
        return False
    with table.open(encoding="utf-8") as lines:
        return next(lines, None) is not None and next(lines, None) is not None
