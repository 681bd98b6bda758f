"""Verification of an archive without the study's data: hashes, tables, split, and the metrics computed again."""

import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neurocohort.dataset.frozen_split import LAST_LINE
from neurocohort.errors import InputError
from neurocohort.evaluation.combined import combined
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import HELD_OUT, NETWORK, headline_metric
from neurocohort.evaluation.rows import ComparisonRow, DetailRow, MetricRow, ShiftRow, SpreadRow, table_of
from neurocohort.evaluation.tables import with_given
from neurocohort.files import read_table, sha256_of
from neurocohort.handover.archive import MANIFEST, columns_of, files_in, manifest_of, seal_of
from neurocohort.handover.pages import broken_links

ROWS = {
    "metrics": MetricRow,
    "details": DetailRow,
    "comparisons": ComparisonRow,
    "shift": ShiftRow,
    "spread": SpreadRow,
}
REQUIRED = {
    "samples": {"scan_id", "participant_id", "cohort", "part", "target"},
    "predictions": {"cohort", "part", "scan_id", "participant_id"},
}
KEY = ["model", "cohort", "part", "group", "metric"]
NUMBERS = ["value", "ci_low", "ci_high"]
LAST_DIGIT = 1.5e-6  # metrics.tsv has six decimals; another machine may round the last one differently


class Check(NamedTuple):
    """A line of the verification."""

    passed: bool
    name: str
    detail: str


def verify(archive: Path, *, baselines: bool = False) -> Iterator[Check]:
    """Yield the checks of an archive.

    Args:
        archive: A zip file of `archive.export`.
        baselines: Whether the metrics of the baselines are computed again too, and not the network's alone.

    Raises:
        InputError: If the file is no such archive.
    """
    with tempfile.TemporaryDirectory(prefix="neurocohort_verify_") as scratch:
        folder = Path(scratch)
        try:
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{archive} can't be unpacked: {error}. Copy it once more from where it came from."
            ) from error
        manifest = manifest_of(folder)
        yield _hashes(folder, manifest["files"])
        yield _signatures(folder, manifest["files"])
        yield from _split_seals(folder, manifest["files"])
        yield _links(folder)
        bootstrap = Bootstrap(**manifest["bootstrap"])
        for name, settings in manifest["experiments"].items():
            experiment = folder / "experiments" / name
            try:
                yield _split(folder, experiment)
                yield _metrics(experiment, settings["task"], bootstrap, baselines=baselines)
            except (InputError, LookupError, ValueError) as error:
                yield Check(False, f"{name}: tables", f"they can't be evaluated: {error}")


def _hashes(folder: Path, files: dict[str, Any]) -> Check:
    there = {path.relative_to(folder).as_posix(): path for path in files_in(folder)}
    there.pop(MANIFEST)
    wrong = [f"{name} is missing" for name in files if name not in there]
    wrong += [f"{name} is not in the manifest" for name in there if name not in files]
    wrong += [
        f"{name} was changed"
        for name, path in there.items()
        if name in files and sha256_of(path) != files[name]["sha256"]
    ]
    return _check("hashes", wrong, f"{len(files)} files have the sha256 of the manifest")


def _signatures(folder: Path, files: dict[str, Any]) -> Check:
    wrong, count = [], 0
    for name, recorded in files.items():
        path = folder / name
        if "columns" not in recorded or not path.is_file():
            continue
        count += 1
        table = read_table(path)
        if columns_of(table) != recorded["columns"] or len(table) != recorded["rows"]:
            wrong.append(f"{name} has other columns, types or rows than the manifest")
        if name.startswith("experiments/"):
            row = ROWS.get(path.stem)
            expected = set(table_of([], row).columns) if row else REQUIRED.get(path.stem, set())
            if lacking := expected - set(table):
                wrong.append(f"{name} lacks {', '.join(sorted(lacking))}")
    return _check("tables", wrong, f"{count} tables have the recorded columns, types and rows")


def _split_seals(folder: Path, files: dict[str, Any]) -> Iterator[Check]:
    for name, recorded in files.items():
        if "seal" not in recorded or not (folder / name).is_file():
            continue
        text = (folder / name).read_text(encoding="utf-8")
        own = hashlib.sha256(text.rpartition(LAST_LINE)[0].encode()).hexdigest()
        wrong = [] if own == seal_of(text) == recorded["seal"] else ["its lines don't have the hash of its last line"]
        sealed = f"sealed with {own[:12]}, with the study's ids {recorded['original_seal'][:12]}"
        yield _check(f"frozen split {name.split('/')[1].removesuffix('_frozen')}", wrong, sealed)


def _links(folder: Path) -> Check:
    return _check("report", list(broken_links(folder / "report")), "every link of its pages leads to a file")


def _split(folder: Path, experiment: Path) -> Check:
    """Whether samples and predictions have the parts of the split, and no participant is in two parts."""
    samples, predictions = read_table(experiment / "samples.tsv"), read_table(experiment / "predictions.tsv")
    wrong, compared = [], 0
    for cohort, rows in samples.groupby("cohort"):
        path = folder / "split" / f"{cohort}.tsv"
        if not path.is_file():
            continue
        parts = read_table(path).set_index("participant_id")["part"]
        if not parts.index.is_unique:
            wrong.append(f"split/{cohort}.tsv has a participant twice")
            continue
        own = rows[rows["part"] != "external"]
        compared += own["participant_id"].nunique()
        if len(differ := own[own["part"] != own["participant_id"].map(parts)]):
            wrong.append(f"{len(differ)} scan(s) of {cohort} have another part in samples.tsv than in the split")
    held_out = set(predictions.loc[predictions["part"] == HELD_OUT, "participant_id"])
    if "test_fold" not in samples and held_out & set(samples.loc[samples["part"] != HELD_OUT, "participant_id"]):
        wrong.append("a participant of the held-out predictions is in another part too")
    detail = f"{compared} participants have one part each; {len(held_out)} held-out"
    return _check(f"{experiment.name}: split", wrong, detail)


def _metrics(experiment: Path, task: str, bootstrap: Bootstrap, *, baselines: bool) -> Check:
    predictions, others = (read_table(experiment / f"{name}.tsv") for name in ("predictions", "baselines"))
    if (experiment / "predictors.tsv").is_file():
        others = with_given(others, read_table(experiment / "predictors.tsv"))
    if baselines:
        mean = combined(predictions, others)
        others = pd.concat([others, mean], ignore_index=True) if len(mean) else others
    computed = evaluate(predictions, others if baselines else others.head(0), task, bootstrap)
    recorded = read_table(experiment / "metrics.tsv")
    if not baselines:
        recorded = recorded[recorded["model"] == NETWORK]
    return _compared(experiment.name, recorded, computed, headline_metric(predictions, task))


def _compared(name: str, recorded: pd.DataFrame, computed: pd.DataFrame, main: str) -> Check:
    """``main``: the metric whose value is shown."""
    both = recorded.merge(computed, on=KEY, how="outer", suffixes=("", "_computed"), indicator=True)
    wrong = [f"{_label(row)} is in one table only" for _, row in both[both["_merge"] != "both"].iterrows()]
    both = both[both["_merge"] == "both"]
    first, second = (both[[f"{one}{end}" for one in NUMBERS]].to_numpy(dtype=float) for end in ("", "_computed"))
    same = np.isclose(first, second, rtol=0, atol=LAST_DIGIT, equal_nan=True)
    other = both[
        ~same.all(axis=1) | (both["n"] != both["n_computed"]) | (both["interval"] != both["interval_computed"])
    ]
    wrong += [f"{_label(row)} is {_numbers(row)}, computed {_numbers(row, '_computed')}" for _, row in other.iterrows()]
    identical = int((np.isclose(first, second, rtol=0, atol=0, equal_nan=True)).all(axis=1).sum())
    headline = both[(both["group"] == "all") & (both["model"] == NETWORK) & (both["metric"] == main)].head(1)
    shown = "".join(f"; {_label(row)}: {_numbers(row)}" for _, row in headline.iterrows())
    return _check(f"{name}: metrics", wrong, f"{len(both)} rows computed again, {identical} to the last digit{shown}")


def _label(row: pd.Series) -> str:
    return " ".join(str(row[one]) for one in KEY)


def _numbers(row: pd.Series, end: str = "") -> str:
    value, low, high = (row[f"{one}{end}"] for one in NUMBERS)
    return f"{value:g} [{low:g}, {high:g}], n = {row[f'n{end}']:g}"


def _check(name: str, wrong: list[str], detail: str) -> Check:
    return Check(
        not wrong, name, "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "") or detail
    )
