"""The split that ClinicaDL 1.x wrote as TSV files: a folder with train and validation, the test part next to it or above.

``clinicadl tsvtools prepare-experiment`` and ``split`` followed by ``split`` or ``kfold`` leave::

    split/train.tsv, train_baseline.tsv, test_baseline.tsv
    split/split/train.tsv, train_baseline.tsv, validation_baseline.tsv    (single split)
    split/5_fold/split-0/train.tsv, train_baseline.tsv, validation_baseline.tsv, ... split-4    (folds)

The folder is ``split/split``, ``split/5_fold``, or one of its ``split-*``. This module imports little, because the
configuration is checked with it.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from neurocohort.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

FOLD = re.compile(r"split-(\d+)")
LEVELS_UP = 2  # from split/5_fold/split-0 to split
EXPECTED = "train.tsv and validation_baseline.tsv (or validation.tsv), or folders split-0, split-1, ... with these"


class PartFile(NamedTuple):
    """One TSV file. ``fold``: the fold of its participants, from 1; None if they have none."""

    path: Path
    part: str
    fold: int | None = None


def split_tables(folder: Path) -> list[PartFile]:
    """The TSV files that give each participant's part; of folds the validation files, the first of which is the validation part.

    Raises:
        InputError: If the folder isn't such a split, or has no test part.
    """
    test = next(
        (found for place in (folder, *folder.resolve().parents[:LEVELS_UP]) if (found := _test_file(place))), None
    )
    numbers = {int(match[1]): name for name in os.listdir(folder) if (match := FOLD.fullmatch(name))}
    train, validation = _file(folder, "train"), _file(folder, "validation")
    if numbers and not validation:
        files = [_fold_file(folder, number, numbers) for number in sorted(numbers)]
    elif train and validation:
        files = [PartFile(train, "train"), PartFile(validation, "validation")]
    else:
        inner = sorted(name for name in os.listdir(folder) if os.path.isdir(folder / name))
        hint = f" Give the folder in it, such as {folder / inner[0]}." if inner and test else ""
        raise InputError(
            f"The folder {folder} has {_content(folder)}; expected a split of ClinicaDL: {EXPECTED}.{hint}"
        )
    if test is None:
        raise InputError(
            f"The split {folder} has no test part: neither it nor the folders above it have train.tsv and test_baseline.tsv (or "
            "test.tsv). `clinicadl tsvtools prepare-experiment` makes one. Or write a table with participant_id and part."
        )
    return [*files, PartFile(test, "held-out")]


def read_clinicadl_split(folder: Path) -> "pd.DataFrame":
    """Read the rows of a split's files: participant_id, session_id if given, part, and fold if there are folds.

    The index says where a row is: its number and its file. Raises InputError if a file can't be read.
    """
    import pandas as pd

    from neurocohort.sources.spreadsheets import read_spreadsheet

    tables = []
    for path, part, fold in split_tables(folder):
        rows = read_spreadsheet(path, ("participant_id",))
        nameless = rows.index[rows["participant_id"].isna()]
        if len(nameless):
            raise InputError(f"{path}, row {nameless[0]} has no participant_id; fill it in, or remove the row.")
        rows = rows[[name for name in ("participant_id", "session_id") if name in rows]]
        where = [f"{number} of {path.resolve().parent.name}/{path.name}" for number in rows.index]
        tables.append(rows.assign(part=part, fold=fold).set_axis(where))
    return pd.concat(tables)


def _fold_file(folder: Path, number: int, numbers: dict[int, str]) -> PartFile:
    """The validation file of ``split-<number>``; the participants of the first fold are the validation part."""
    path = _file(folder / numbers[number], "validation")
    if path is None:
        raise InputError(
            f"{folder / numbers[number]} has {_content(folder / numbers[number])}; expected validation_baseline.tsv."
        )
    return PartFile(path, "train" if number else "validation", number + 1)


def _test_file(folder: Path) -> Path | None:
    """The test file of a folder in which ClinicaDL separated it from the others."""
    return _file(folder, "test") if _file(folder, "train") else None


def _file(folder: Path, part: str) -> Path | None:
    """The file of a part with all sessions, or else that with the first session of each participant."""
    return next((path for end in ("", "_baseline") if (path := folder / f"{part}{end}.tsv").is_file()), None)


def _content(folder: Path) -> str:
    return ", ".join(sorted(os.listdir(folder))[:8]) or "nothing in it"
