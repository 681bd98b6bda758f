"""The user's own split: a table with a part for each participant of a cohort, checked before it is used."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from neurocohort.dataset.class_values import few_values
from neurocohort.dataset.clinicadl_split import read_clinicadl_split
from neurocohort.dataset.split import EXCLUDED, FOLDED_PARTS, PARTS
from neurocohort.errors import InputError
from neurocohort.sources.bids_labels import as_label
from neurocohort.sources.spreadsheets import read_spreadsheet

logger = logging.getLogger(__name__)

# In upper or lower case, and with a space or `_` instead of `-`.
SYNONYMS = {
    "training": "train",
    "val": "validation",
    "heldout": "held-out",
    "test": "held-out",
    "testing": "held-out",
    "exclude": EXCLUDED,
}
PART_NAMES = {name: name for name in (*PARTS, EXCLUDED)} | SYNONYMS
PREFIX = "sub-"


def read_split_file(path: Path | str, scans: pd.DataFrame, folds: int = 0, test_folds: int = 0) -> pd.DataFrame:
    """Read a split from a .tsv, .csv, .xls or .xlsx.

    The file has the columns participant_id (with or without ``sub-``) and part: train, validation, held-out, or excluded for
    participants that are used nowhere; SYNONYMS are understood. It may have a row for each scan, with session_id or scan_id; a
    participant's rows must agree. The column fold (1 to the number of folds; empty for held-out and excluded) is optional; if
    it has values, everybody in train and validation needs one. It may be called ``fold_<folds>`` as in the record of a split.
    With test folds, the file needs a column test_fold (or ``test_fold_<test_folds>``), 1 to their number, for everybody in train
    and validation, and nobody may be in held-out; without them the column isn't read. Lines that begin with ``#`` are ignored.
    Participants and scans that the cohort lacks are only logged. A folder is a split of ClinicaDL (`clinicadl_split`); the
    cohort's participants who are in none of its files are excluded and logged.

    Args:
        path: The file or folder.
        scans: The cohort's scans.tsv.
        folds: The study's number of folds, which the file's must be; 0 for none.
        test_folds: The study's number of test folds, which the file's must be; 0 for none.

    Returns:
        A row per participant: participant_id, part, stratum, fold, and with test folds test_fold. ``stratum`` is missing, and
        ``fold`` if the file has none: `split_participants` with this split as ``frozen`` fills both.

    Raises:
        InputError: If the file contradicts any of this, lacks participants of the cohort, or leaves a part empty.
    """
    path = Path(path)
    rows = read_clinicadl_split(path) if path.is_dir() else _read(path)
    known = set(scans["participant_id"])
    rows["participant_id"] = rows["participant_id"].map(lambda name: _participant(name, known))
    if path.is_dir():
        rows = _with_excluded(path, rows, known)
    rows["part"] = _parts(path, rows["part"])
    _refuse_two_values(path, rows, "part", "parts")
    fold_column = next((name for name in ("fold", f"fold_{folds}") if name in rows), None)
    rows["fold"] = _fold_numbers(path, rows, fold_column)
    _refuse_two_values(path, rows, "fold", "folds")
    columns = ["participant_id", "part", "stratum", "fold"]
    if test_folds:
        rows["test_fold"] = _test_fold_numbers(path, rows, test_folds)
        _refuse_two_values(path, rows, "test_fold", "test folds")
        columns.append("test_fold")

    split = rows.assign(stratum=pd.Series(pd.NA, index=rows.index, dtype="str")).drop_duplicates("participant_id")[
        columns
    ]
    _log_unknown(path, rows, scans)
    _refuse_missing(path, split, known)
    split = split[split["participant_id"].isin(known)].sort_values("participant_id").reset_index(drop=True)
    if test_folds:
        _check_test_folds(path, split, test_folds)
    _refuse_empty_parts(path, split, FOLDED_PARTS if test_folds else PARTS)
    _check_folds(path, split, folds)
    return split


def check_test_fold_column(path: Path | str, test_folds: int) -> None:
    """Check before anything runs that a split has a column for the test folds. Its values are checked with the cohort's scans.

    Raises:
        InputError: If the file can't be read, or lacks that column.
    """
    column_of_test_folds(path, list(_read(Path(path))), test_folds)


def column_of_test_folds(path: Path | str, columns: list[str], test_folds: int) -> str:
    """The name of the column with the test fold of each participant.

    Raises:
        InputError: If there is none.
    """
    names = ("test_fold", f"test_fold_{test_folds}")
    column = next((name for name in names if name in columns), None)
    if column is None:
        raise InputError(
            f"{path} has no column test_fold, and `split.test_folds` is {test_folds}; found {', '.join(map(str, columns))}, "
            f"expected a column {' or '.join(names)} with the test fold of each participant, 1 to {test_folds}. Add the column, "
            "or set `split.test_folds: 0`."
        )
    return column


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"`split_file` names {path}, which isn't there; correct the path, or remove the key.")
    rows = read_spreadsheet(path, ("participant_id", "part"), comments="#")
    twice = sorted(set(rows.columns[rows.columns.duplicated()]))
    if twice:
        raise InputError(f"{path} has the column(s) {', '.join(twice)} twice; expected each once.")
    names = rows["participant_id"]
    rows = rows[[not str(name).startswith("#") for name in names]].copy()
    if rows.empty:
        raise InputError(f"{path} has no rows; expected one for each participant of the cohort.")
    nameless = rows.index[rows["participant_id"].isna()]
    if len(nameless):
        raise InputError(f"{path}, row {nameless[0]} has no participant_id; fill it in, or remove the row.")
    return rows


def _with_excluded(path: Path, rows: pd.DataFrame, known: set[str]) -> pd.DataFrame:
    """Add the cohort's participants who are in no file of a ClinicaDL split, as excluded: ClinicaDL doesn't use them either."""
    others = sorted(known - set(rows["participant_id"]))
    if not others:
        return rows
    logger.warning(
        "%d participant(s) of the cohort are in no file of %s, and are excluded: %s.",
        len(others),
        path,
        few_values(others),
    )
    added = pd.DataFrame({"participant_id": others, "part": EXCLUDED}, index=[f"none of {name}" for name in others])
    return pd.concat([rows, added])


def _participant(name: object, known: set[str]) -> str:
    text = str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)
    return text if text in known else as_label(text, PREFIX) or PREFIX + text


def _parts(path: Path, given: pd.Series) -> pd.Series:
    parts = given.map(lambda name: PART_NAMES.get(str(name).strip().lower().replace("_", "-").replace(" ", "-")))
    unknown = given[parts.isna()]
    if len(unknown):
        row = unknown.index[0]
        found = "is empty" if given[row] is None else f"is {given[row]!r}"
        raise InputError(
            f"{path}, row {row}: part {found}; expected train, validation, held-out (also called test), or excluded for a "
            f"participant that is not to be used. {len(unknown)} row(s) are wrong."
        )
    return parts


def _fold_numbers(path: Path, rows: pd.DataFrame, column: str | None) -> pd.Series:
    if column is None:
        return pd.Series(pd.NA, index=rows.index, dtype="Int64")
    given = rows[column]
    numbers = pd.to_numeric(given, errors="coerce")
    wrong = given[given.notna() & ~((numbers >= 1) & (numbers <= len(rows)) & (numbers % 1 == 0))]
    if len(wrong):
        raise InputError(
            f"{path}, row {wrong.index[0]}: {column} is {wrong.iloc[0]!r}; expected a whole number from 1 on, not above the "
            f"number of rows ({len(rows)}), or nothing for held-out and excluded participants."
        )
    return numbers.astype("Int64")


def _test_fold_numbers(path: Path, rows: pd.DataFrame, test_folds: int) -> pd.Series:
    column = column_of_test_folds(path, list(rows), test_folds)
    return _fold_numbers(path, rows, column)


def _refuse_two_values(path: Path, rows: pd.DataFrame, column: str, what: str) -> None:
    counts = rows.groupby("participant_id")[column].nunique(dropna=False)
    crossing = sorted(counts.index[counts > 1])
    if crossing:
        first = rows.loc[rows["participant_id"] == crossing[0], column]
        found = ", ".join(f"{'none' if pd.isna(value) else value} in row {row}" for row, value in first.items())
        raise InputError(
            f"{path} gives {len(crossing)} participant(s) two {what}: {few_values(crossing)} ({crossing[0]}: {found}). All "
            f"sessions of a person have the same one; give each participant's rows the same {column}."
        )


def _log_unknown(path: Path, rows: pd.DataFrame, scans: pd.DataFrame) -> None:
    unknown = sorted(set(rows["participant_id"]) - set(scans["participant_id"]))
    if unknown:
        logger.warning("%s names %d participant(s) that the cohort lacks: %s.", path, len(unknown), few_values(unknown))
    for column in ("session_id", "scan_id"):
        if column in rows and column in scans:
            named = rows.loc[rows[column].notna() & ~rows["participant_id"].isin(unknown), ["participant_id", column]]
            there = set(zip(scans["participant_id"], scans[column].astype(str), strict=True))
            absent = [
                f"{who} {which}" for who, which in named.itertuples(index=False) if (who, str(which)) not in there
            ]
            if absent:
                logger.warning("%s names %d scan(s) that the cohort lacks: %s.", path, len(absent), few_values(absent))


def _refuse_missing(path: Path, split: pd.DataFrame, known: set[str]) -> None:
    missing = sorted(known - set(split["participant_id"]))
    if not missing:
        return
    unknown = sorted(set(split["participant_id"]) - known)
    hint = (
        f" The file has participants that the cohort lacks: {few_values(unknown)}; are they spelled differently?"
        if unknown
        else ""
    )
    raise InputError(
        f"{path} lacks {len(missing)} of the cohort's {len(known)} participants: {few_values(missing)}. Give each a part; those "
        f"that are not to be used get the part `{EXCLUDED}`.{hint}"
    )


def _refuse_empty_parts(path: Path, split: pd.DataFrame, parts: Sequence[str]) -> None:
    empty = [part for part in parts if not (split["part"] == part).any()]
    if empty:
        counts = ", ".join(f"{count} {part}" for part, count in split["part"].value_counts().sort_index().items())
        raise InputError(
            f"{path} puts no participant of the cohort into {' and '.join(empty)} (found: {counts}); expected at least one "
            f"participant in each of {', '.join(parts[:-1])} and {parts[-1]}."
        )


def _check_test_folds(path: Path, split: pd.DataFrame, test_folds: int) -> None:
    held_out = split.loc[split["part"] == "held-out", "participant_id"]
    if len(held_out):
        raise InputError(
            f"{path} puts {len(held_out)} participant(s) into held-out: {few_values(list(held_out))}. `split.test_folds` is "
            f"{test_folds}, so each participant is held out in its test fold; give them the part train or validation, which "
            "holds in the other test folds, or set `split.test_folds: 0`."
        )
    inside = split["part"].isin(FOLDED_PARTS)
    without = split.loc[inside & split["test_fold"].isna(), "participant_id"]
    if len(without):
        raise InputError(
            f"{path} gives {len(without)} participant(s) no test_fold: {few_values(list(without))}. Give each one of 1 to "
            f"{test_folds}; those that are not to be used get the part `{EXCLUDED}`."
        )
    found = sorted(split.loc[inside, "test_fold"].unique())
    if found != list(range(1, test_folds + 1)):
        raise InputError(
            f"{path} has the test folds {', '.join(map(str, found))}; expected 1 to {test_folds}, each with a participant "
            f"(`split.test_folds` is {test_folds})."
        )
    for fold in found:
        left = set(split.loc[inside & (split["test_fold"] != fold), "part"])
        if absent := [part for part in FOLDED_PARTS if part not in left]:
            raise InputError(
                f"{path} has all participants of {' and '.join(absent)} in test fold {fold}: none is left while it is held "
                "out; divide each part over several test folds."
            )


def _check_folds(path: Path, split: pd.DataFrame, folds: int) -> None:
    if split["fold"].isna().all():
        return
    inside = split["part"].isin(FOLDED_PARTS)
    without = split.loc[inside & split["fold"].isna(), "participant_id"]
    if len(without):
        raise InputError(
            f"{path} gives {len(without)} participant(s) of train and validation no fold: {few_values(list(without))}. Give "
            "everybody there a fold, or remove the column."
        )
    outside = split.loc[~inside & split["fold"].notna(), "participant_id"]
    if len(outside):
        raise InputError(
            f"{path} gives {len(outside)} held-out or excluded participant(s) a fold: {few_values(list(outside))}. Folds "
            "divide train and validation only; empty the fields."
        )
    found = sorted(split.loc[inside, "fold"].unique())
    expected = list(range(1, max(folds or found[-1], 2) + 1))
    if found != expected:
        raise InputError(
            f"{path} has the folds {', '.join(map(str, found))}; expected 1 to {expected[-1]}, each with a participant"
            + (f" (`split.folds` is {folds})." if folds else ".")
        )
