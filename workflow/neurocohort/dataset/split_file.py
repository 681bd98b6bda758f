"""A split of the user's own: a table that gives each participant of a cohort a part, checked before it is used."""

import logging
from pathlib import Path

import pandas as pd

from neurocohort.dataset.split import EXCLUDED, FOLDED_PARTS, PARTS
from neurocohort.errors import InputError
from neurocohort.sources.bids_labels import as_label
from neurocohort.sources.spreadsheets import read_spreadsheet

logger = logging.getLogger(__name__)

# In any case, and with a space or `_` for `-`.
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
NAMED = 10  # as many names as a message has room for


def read_split_file(path: Path | str, scans: pd.DataFrame, folds: int = 0) -> pd.DataFrame:
    """The split in a .tsv, .csv, .xls or .xlsx of the user's: participant_id, part, stratum, fold, one row a participant.

    The file has the columns participant_id (with or without ``sub-``) and part: train, validation, held-out, or excluded
    for participants that are to be used nowhere; ``training``, ``val``, ``test``, ``heldout`` and the like are understood
    (SYNONYMS). It may have a row for each scan, with session_id or scan_id; a participant's rows must agree. ``fold`` (1 to
    the number of folds; empty for held-out and excluded) may be absent; where it has values, everybody in train and
    validation has one. With ``folds`` (the study's number, 0 for none) their numbers must agree, and the column may be
    called ``fold_<folds>`` as in the record of a split. Lines that begin with ``#`` are left out. ``stratum`` is missing
    in the result, and so is ``fold`` where the file has none: `split_participants` with this split as ``frozen`` fills both.

    ``scans``: the cohort's scans.tsv. Raises InputError, with rows or names, for what contradicts any of this, for
    participants of the cohort that the file lacks, and where train, validation or held-out is empty. Participants and scans
    that the cohort lacks are only noted in the log.
    """
    path = Path(path)
    rows = _read(path)
    known = set(scans["participant_id"])
    rows["participant_id"] = rows["participant_id"].map(lambda name: _participant(name, known))
    rows["part"] = _parts(path, rows["part"])
    _refuse_two_values(path, rows, "part", "parts")
    fold_column = next((name for name in ("fold", f"fold_{folds}") if name in rows), None)
    rows["fold"] = _fold_numbers(path, rows, fold_column)
    _refuse_two_values(path, rows, "fold", "folds")

    split = rows.drop_duplicates("participant_id")[["participant_id", "part", "fold"]]
    _note_strangers(path, rows, scans)
    _refuse_missing(path, split, known)
    split = split[split["participant_id"].isin(known)].sort_values("participant_id").reset_index(drop=True)
    _refuse_empty_parts(path, split)
    _check_folds(path, split, folds)
    return split.assign(stratum=pd.Series(pd.NA, index=split.index, dtype="str"))[
        ["participant_id", "part", "stratum", "fold"]
    ]


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"`split_file` names {path}, which isn't there; correct the path, or leave the key out.")
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
        raise InputError(f"{path}, row {nameless[0]} has no participant_id; fill it in, or take the row out.")
    return rows


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
            f"participant that is to be left out. {len(unknown)} row(s) are so."
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


def _refuse_two_values(path: Path, rows: pd.DataFrame, column: str, what: str) -> None:
    counts = rows.groupby("participant_id")[column].nunique(dropna=False)
    crossing = sorted(counts.index[counts > 1])
    if crossing:
        first = rows.loc[rows["participant_id"] == crossing[0], column]
        found = ", ".join(f"{'none' if pd.isna(value) else value} in row {row}" for row, value in first.items())
        raise InputError(
            f"{path} gives {len(crossing)} participant(s) two {what}: {_few(crossing)} ({crossing[0]}: {found}). All sessions "
            f"of a person share one; give each participant's rows the same {column}."
        )


def _note_strangers(path: Path, rows: pd.DataFrame, scans: pd.DataFrame) -> None:
    strangers = sorted(set(rows["participant_id"]) - set(scans["participant_id"]))
    if strangers:
        logger.warning("%s names %d participant(s) that the cohort lacks: %s.", path, len(strangers), _few(strangers))
    for column in ("session_id", "scan_id"):
        if column in rows and column in scans:
            named = rows.loc[rows[column].notna() & ~rows["participant_id"].isin(strangers), ["participant_id", column]]
            there = set(zip(scans["participant_id"], scans[column].astype(str), strict=True))
            absent = [
                f"{who} {which}" for who, which in named.itertuples(index=False) if (who, str(which)) not in there
            ]
            if absent:
                logger.warning("%s names %d scan(s) that the cohort lacks: %s.", path, len(absent), _few(absent))


def _refuse_missing(path: Path, split: pd.DataFrame, known: set[str]) -> None:
    missing = sorted(known - set(split["participant_id"]))
    if not missing:
        return
    strangers = sorted(set(split["participant_id"]) - known)
    hint = (
        f" The file has participants that the cohort lacks: {_few(strangers)}; are they spelt otherwise?"
        if strangers
        else ""
    )
    raise InputError(
        f"{path} lacks {len(missing)} of the cohort's {len(known)} participants: {_few(missing)}. Give each a part; those "
        f"that are to be left out on purpose get the part `{EXCLUDED}`.{hint}"
    )


def _refuse_empty_parts(path: Path, split: pd.DataFrame) -> None:
    empty = [part for part in PARTS if not (split["part"] == part).any()]
    if empty:
        counts = ", ".join(f"{count} {part}" for part, count in split["part"].value_counts().sort_index().items())
        raise InputError(
            f"{path} puts no participant of the cohort into {' and '.join(empty)} (found: {counts}); expected at least one "
            "participant in each of train, validation and held-out."
        )


def _check_folds(path: Path, split: pd.DataFrame, folds: int) -> None:
    if split["fold"].isna().all():
        return
    inside = split["part"].isin(FOLDED_PARTS)
    without = split.loc[inside & split["fold"].isna(), "participant_id"]
    if len(without):
        raise InputError(
            f"{path} gives {len(without)} participant(s) of train and validation no fold: {_few(list(without))}. Give "
            "everybody there a fold, or leave the column out."
        )
    outside = split.loc[~inside & split["fold"].notna(), "participant_id"]
    if len(outside):
        raise InputError(
            f"{path} gives {len(outside)} held-out or excluded participant(s) a fold: {_few(list(outside))}. Folds divide train "
            "and validation alone; empty the fields."
        )
    found = sorted(split.loc[inside, "fold"].unique())
    expected = list(range(1, max(folds or found[-1], 2) + 1))
    if found != expected:
        raise InputError(
            f"{path} has the folds {', '.join(map(str, found))}; expected 1 to {expected[-1]}, each with a participant"
            + (f" (`split.folds` is {folds})." if folds else ".")
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
