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
TEST_FOLDS = "test_fold_{}"  # a column per number of test folds
FOLDS_IN = "fold_{}_in_{}"  # folds that are balanced within a number of test folds


def frozen_path(
    folder: Path | str, cohort: str, *, validation: float, held_out: float, seed: int, test_folds: int = 0
) -> Path:
    """Return the path of the record of a cohort's split with these settings; other settings are another split.

    The number of folds isn't one of them: the record has a column for each number. The same holds for the number of test folds,
    if there are any; then there is no held-out part.
    """
    if test_folds:
        return Path(folder) / cohort / f"validation-{validation!r}_test-folds_seed-{seed}.tsv"
    return Path(folder) / cohort / f"validation-{validation!r}_held_out-{held_out!r}_seed-{seed}.tsv"


def load_frozen(path: Path | str, folds: int = 0, test_folds: int = 0) -> pd.DataFrame | None:
    """Read the recorded split: participant_id, part, stratum, fold and, with test folds, test_fold. The folds are missing where
    they aren't assigned yet.

    Returns:
        The split; None if there is no record.

    Raises:
        InputError: If the file's content doesn't match the hash in its last line.
    """
    record = _read(Path(path))
    if record is None:
        return None
    missing = pd.Series(pd.NA, index=record.index, dtype="Int64")
    columns = {"fold": _column(folds, test_folds)} | (
        {"test_fold": TEST_FOLDS.format(test_folds)} if test_folds else {}
    )
    assigned = {name: record.get(column, missing) for name, column in columns.items()}
    return record[["participant_id", "part", "stratum"]].assign(**assigned)


def freeze(path: Path | str, table: pd.DataFrame, folds: int = 0, test_folds: int = 0) -> None:
    """Add new participants and folds to a record. The file is replaced as a whole, and only if something is new.

    Args:
        path: The record.
        table: participant_id, part, stratum, fold, test_fold; it keeps the assignments of `load_frozen`.
        folds: Number of folds; 0 for none.
        test_folds: Number of test folds; 0 for none.

    Raises:
        InputError: As `load_frozen`, or if ``table`` contradicts the record.
    """
    path = Path(path)
    record = _read(path)
    new = table.set_index("participant_id")[["part", "stratum"]]
    if test_folds:
        new[TEST_FOLDS.format(test_folds)] = table["test_fold"].astype("Int64").array
    if folds:
        new[_column(folds, test_folds)] = table["fold"].astype("Int64").array
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
    prefixes = FOLDS.format(""), TEST_FOLDS.format("")
    return table.astype({name: "Int64" for name in table if name.startswith(prefixes)})


def _column(folds: int, test_folds: int) -> str:
    return FOLDS_IN.format(folds, test_folds) if test_folds else FOLDS.format(folds)


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
