"""The record of a cohort's split: existing assignments never change. The last line of the file is the hash of the other lines.

The record isn't an output of any rule, because Snakemake deletes outputs before a rerun. New participants are added to it.
"""

import hashlib
import io
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import write_text

LAST_LINE = "# sha256 "
FOLDS = "fold_{}"  # a column per number of folds: parts don't depend on it


def frozen_path(folder: Path | str, cohort: str, *, validation: float, held_out: float, seed: int) -> Path:
    """Return the path of the record of a cohort's split with these settings; other settings are another split.

    The number of folds isn't one of them: the record has a column for each number.
    """
    return Path(folder) / cohort / f"validation-{validation!r}_held_out-{held_out!r}_seed-{seed}.tsv"


def load_frozen(path: Path | str, folds: int = 0) -> pd.DataFrame | None:
    """Read the recorded split: participant_id, part, stratum, and fold, which is missing if it isn't assigned yet.

    Returns:
        The split; None if there is no record.

    Raises:
        InputError: If the file's content doesn't match the hash in its last line.
    """
    record = _read(Path(path))
    if record is None:
        return None
    column = FOLDS.format(folds)
    fold = record[column] if column in record else pd.Series(pd.NA, index=record.index, dtype="Int64")
    return record[["participant_id", "part", "stratum"]].assign(fold=fold)


def freeze(path: Path | str, table: pd.DataFrame, folds: int = 0) -> None:
    """Add new participants and folds to a record. The file is replaced as a whole, and only if something is new.

    Args:
        path: The record.
        table: participant_id, part, stratum, fold; it keeps the assignments of `load_frozen`.
        folds: Number of folds; 0 for none.

    Raises:
        InputError: As `load_frozen`, or if ``table`` contradicts the record.
    """
    path = Path(path)
    record = _read(path)
    new = table.set_index("participant_id")[["part", "stratum"]]
    if folds:
        new[FOLDS.format(folds)] = table["fold"].astype("Int64").array
    merged = new
    if record is not None:
        record = record.set_index("participant_id")
        _refuse_other_values(path, record, new)
        merged = record.combine_first(new)[[*record.columns, *(name for name in new if name not in record)]]
    merged = merged.sort_index().reset_index()
    text = merged.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")
    content = f"{text}{LAST_LINE}{_sha256(text)}\n"
    if not (path.is_file() and path.read_text(encoding="utf-8") == content):
        write_text(path, content)


def _read(path: Path) -> pd.DataFrame | None:
    try:
        text = path.read_text(encoding="utf-8")  # any line ends: version control may have changed them
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}, the record of a split, can't be read ({error}); restore it from a copy.") from error
    body, _, recorded = text.rpartition(LAST_LINE)
    if recorded.strip() != _sha256(body):
        raise InputError(
            f"{path} was changed: its content doesn't match the sha256 in its last line. It is the permanent record of every "
            "participant's part of the split. Restore it from a copy; or, if the change is intended, move the table elsewhere "
            "and give it as the cohort's `split_file`."
        )
    table = pd.read_csv(io.StringIO(body), sep="\t", dtype=str, na_values=["n/a"], keep_default_na=False)
    return table.astype({name: "Int64" for name in table if name.startswith(FOLDS.format(""))})


def _refuse_other_values(path: Path, record: pd.DataFrame, new: pd.DataFrame) -> None:
    columns = [name for name in new if name in record and name != "stratum"]
    both = record.index.intersection(new.index)
    before, after = record.loc[both, columns], new.loc[both, columns]
    differ = (before.notna() & (before != after).fillna(True)).any(axis=1)
    if differ.any():
        names = ", ".join(sorted(both[differ])[:10])
        raise InputError(
            f"{path} records another part or fold for {differ.sum()} participant(s): {names}. It was written by another run "
            "in the meantime; run the split again."
        )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
