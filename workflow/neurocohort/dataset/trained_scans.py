"""What was known of an experiment's scans when a network was trained: ``trained.json`` next to its weights.

With `new_scans: keep_networks`, networks stay as long as nothing that they were trained on has changed and scans have only been
added. The record is not an output of a rule, because Snakemake deletes outputs before a rerun. Imports stay light: this runs at
the start of every Snakemake process.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from neurocohort.dataset.class_values import few_values
from neurocohort.dataset.folds import FOLDED_PARTS
from neurocohort.errors import InputError
from neurocohort.files import read_json, write_json
from neurocohort.settings.base import Group
from neurocohort.sources.scan_batches import read_batches

RECORD, WEIGHTS = "trained.json", "model.safetensors"
MISSING = ("", "n/a")
ADDED = "added after the training"  # why a scan is only predicted
ADDED_SESSION = f"{ADDED}, a session of a participant who was known before"


class TrainedScans(Group):
    """The content of trained.json.

    Attributes:
        conditions: Hash of all settings and code between the scans and the training.
        rows: By ``cohort/scan_id``, a hash of everything that ingest knew of the scan, also of scans that were not used.
        samples: By ``cohort/scan_id`` of the development part, the test fold; 0 without test folds.
    """

    conditions: str
    rows: dict[str, str]
    samples: dict[str, int]


def known_scans(data: Path, cohorts: Iterable[str], split_files: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Hash everything that ingest knows of each scan, and each line of a user's split file.

    Args:
        data: Folder with a folder of tables for each cohort.
        cohorts: Their names.
        split_files: The file of the `split_file` of each cohort that has one, or the files of a folder.

    Returns:
        A hash by ``cohort/scan_id``, and an empty text by ``cohort/split_file/line``; of several files,
        by ``cohort/split_file/folder/file/line``.
    """
    found: dict[str, str] = {}
    for cohort in cohorts:
        tables = [data / cohort / name for name in ("scans.tsv", "batches.tsv")]
        found |= _rows(cohort, *tables, *(path.stat().st_mtime_ns for path in tables))
        files = [Path(name) for name in split_files.get(cohort, ())]
        for path in files:
            # The files of a folder may have the same lines: only their names say which part the lines give.
            place = f"{path.parent.name}/{path.name}/" if len(files) > 1 else ""
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found |= {f"{cohort}/split_file/{place}{line.strip()}": "" for line in lines if line.strip()}
    return found


@lru_cache(maxsize=64)
def _rows(cohort: str, scans: Path, batches: Path, *times_ns: int) -> dict[str, str]:
    """The hash of each scan of a cohort. Numbers are compared as numbers, and missing values don't count, so that added scans,
    for which a column may be written otherwise, don't change the others."""
    contents = {scan: content for batch in read_batches(batches).values() for scan, content in batch.items()}
    found = {}
    with open(scans, newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            known = sorted((name, _plain(value)) for name, value in row.items() if value not in MISSING)
            text = json.dumps([known, contents.get(row["scan_id"], "")])
            found[f"{cohort}/{row['scan_id']}"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


def _plain(value: Any) -> str:
    try:
        return repr(float(value))
    except (TypeError, ValueError):
        return str(value)


def kept_record(folders: Iterable[Path], known: Mapping[str, str], conditions: str) -> Path | None:
    """Return a record by which the networks in ``folders`` stay although scans were added.

    Args:
        folders: The folders of the experiment's trainings; one without weights is not trained yet.
        known: `known_scans` of today.
        conditions: As in `TrainedScans`.

    Returns:
        The record of one of the networks; all of them were trained on the same. None where there is no network, where no scan was
        added, or where anything that the networks depend on has changed.
    """
    paths = [folder / RECORD for folder in folders if (folder / WEIGHTS).is_file()]
    if not paths or not all(path.is_file() for path in paths) or len({path.read_bytes() for path in paths}) > 1:
        return None
    record = read_record(paths[0])
    unchanged = record.conditions == conditions and record.rows.items() <= known.items()
    return paths[0] if unchanged and len(known) > len(record.rows) else None


def read_record(path: Path) -> TrainedScans:
    """Read trained.json. Raises InputError where it isn't whole."""
    return TrainedScans.read(read_json(path))


def write_record(path: Path, record: TrainedScans) -> None:
    write_json(path, record.as_dict())


def record_of(samples: pd.DataFrame, known: dict[str, str], conditions: str) -> TrainedScans:
    """Return the record of networks that are trained on ``samples`` (`select_samples`) today."""
    own = samples[samples["part"].isin(FOLDED_PARTS)]
    return TrainedScans(
        conditions=conditions, rows=known, samples=dict(zip(_keys(own), map(int, _test_folds(own)), strict=True))
    )


def without_added(
    samples: pd.DataFrame, flow: pd.DataFrame, record: TrainedScans
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Take the scans of the development part that the networks don't know out of the samples.

    Added scans of the held-out part and of external cohorts remain, since no network was trained on any of these.

    Args:
        samples: The result of `select_samples`.
        flow: Its steps.
        record: What the networks were trained on.

    Returns:
        The other samples; the flow, with one step more in each cohort that has added scans; and the added scans, which only get
        predictions, with the column ``reason``.

    Raises:
        InputError: If a scan that a network was trained on is held out now.
    """
    trained = pd.Series(_keys(samples), index=samples.index).map(record.samples)
    development = samples["part"].isin(FOLDED_PARTS)
    moved = trained.notna() & ~(development & (trained == _test_folds(samples)))
    if moved.any():
        raise InputError(
            f"{int(moved.sum())} scan(s) that networks were trained on are held out now: "
            f"{few_values(sorted(samples.loc[moved, 'scan_id']))}. The record of the split (`splits/`) is not the one of the "
            "training; restore it, or write `new_scans: retrain`."
        )
    added = development & trained.isna()
    kept, new = samples[~added].reset_index(drop=True), samples[added].reset_index(drop=True)
    people = pd.MultiIndex.from_frame(kept[["cohort", "participant_id"]])
    known = pd.MultiIndex.from_frame(new[["cohort", "participant_id"]]).isin(people)
    return (
        kept,
        _flow_without(flow, kept, new),
        new.assign(reason=pd.Series(ADDED, new.index).mask(known, ADDED_SESSION)),
    )


def _flow_without(flow: pd.DataFrame, kept: pd.DataFrame, added: pd.DataFrame) -> pd.DataFrame:
    tables = []
    for cohort, steps in flow.groupby("cohort", sort=False):
        tables.append(steps)
        if (added["cohort"] == cohort).any():
            people = kept.loc[kept["cohort"] == cohort, "participant_id"]
            row = {"cohort": cohort, "step": f"not {ADDED}", "scans": len(people), "participants": people.nunique()}
            tables.append(pd.DataFrame([row]))
    return pd.concat(tables, ignore_index=True)


def _keys(samples: pd.DataFrame) -> list[str]:
    return (samples["cohort"] + "/" + samples["scan_id"]).tolist()


def _test_folds(samples: pd.DataFrame) -> pd.Series:
    """The test fold of each row, 0 without."""
    if "test_fold" not in samples:
        return pd.Series(0, index=samples.index)
    return pd.to_numeric(samples["test_fold"]).fillna(0).astype(int)
