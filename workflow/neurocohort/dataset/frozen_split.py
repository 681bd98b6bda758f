"""The record of a cohort's split: who was ever given a part keeps it, and the file's last line holds the hash of the rest.

The record lies outside every rule's outputs, which Snakemake deletes before a rerun. It grows, and nothing in it changes.
"""

import hashlib
import io
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import write_text

LAST_LINE = "# sha256 "
FOLDS = "fold_{}"  # the column for this number of folds: another number of folds moves nobody to another part


def frozen_path(folder: Path | str, cohort: str, *, validation: float, held_out: float, seed: int) -> Path:
    """Where the record of a cohort's split with these settings lies: another seed or share is another split.

    The number of folds isn't among them: the record has a column for each number that was ever asked for.
    """
    return Path(folder) / cohort / f"validation-{validation!r}_held_out-{held_out!r}_seed-{seed}.tsv"


def load_frozen(path: Path | str, folds: int = 0) -> pd.DataFrame | None:
    """The recorded split, None where nothing is recorded: participant_id, part, stratum, fold (missing where not dealt).

    Raises InputError where the file's content doesn't match the hash in its last line.
    """
    record = _read(Path(path))
    if record is None:
        return None
    column = FOLDS.format(folds)
    fold = record[column] if column in record else pd.Series(pd.NA, index=record.index, dtype="Int64")
    return record[["participant_id", "part", "stratum"]].assign(fold=fold)


def freeze(path: Path | str, table: pd.DataFrame, folds: int = 0) -> None:
    """Add to the record at ``path`` whom it lacks, and the folds that it lacks, from a split made with `load_frozen`'s.

    ``table``: participant_id, part, stratum, fold. The file is replaced as a whole, and only where something is new.
    Raises InputError as `load_frozen` does, and where ``table`` contradicts the record.
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
        text = path.read_text(encoding="utf-8")  # line ends of any kind: version control may have changed them
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}, the record of a split, can't be read ({error}); restore it from a copy.") from error
    body, _, recorded = text.rpartition(LAST_LINE)
    if recorded.strip() != _sha256(body):
        raise InputError(
            f"{path} isn't as it was written: its content doesn't match the sha256 in its last line. It records which part "
            "of the split every participant got, for good. Restore it from a copy; or, if the change is meant, move the "
            "table elsewhere and give it as the cohort's `split_file`."
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
