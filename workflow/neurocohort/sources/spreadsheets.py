"""The table of a published cohort, or of a split: one row per person or session, with cells that are checked one by one."""

import math
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.sources.cells import read_table
from neurocohort.sources.variable_numbers import number_of

Key = TypeVar("Key", int, str)


class PublishedTable(NamedTuple, Generic[Key]):
    """The table of a public cohort, by person or session.

    ``known``: the variables by name; None if missing. ``conflicts``: why somebody is excluded. ``nameless``: a sentence on each
    row that names nobody. ``notes``: sentences for `notes.tsv`.
    """

    known: dict[Key, dict[str, object]]
    conflicts: dict[Key, str]
    nameless: list[str]
    notes: list[str]


class Row(NamedTuple):
    """One row of the table at ``path``. ``number``: its number in the file, for messages (the header is row 1)."""

    path: Path
    number: int
    cells: dict[str, object]

    def number_in(self, column: str, limits: tuple[float, float] | None = None) -> float | None:
        """The number in one cell; None if it is empty. Raises InputError for anything else, and outside ``limits``."""
        cell = self.cells[column]
        if cell is None:
            return None
        value = number_of(cell) if isinstance(cell, str) else cell
        if isinstance(value, bool) or not isinstance(value, int | float):  # a date, or yes and no
            problem = f"{cell!r} where a number is expected"
        elif not math.isfinite(value):
            problem = f"{value} where a number is expected"
        elif limits and not limits[0] <= value <= limits[1]:
            problem = f"{value:g}, and {limits[0]:g} to {limits[1]:g} is expected"
        else:
            return float(value)
        raise self.fault(column, f"holds {problem}: correct or empty the cell.")

    def fault(self, column: str, problem: str) -> InputError:
        """The error for one cell."""
        return InputError(f"{self.path}, row {self.number}, column {column!r} {problem}")


def read_spreadsheet(
    path: Path | str, required: tuple[str, ...], sheet: str | None = None, comments: str | None = None
) -> pd.DataFrame:
    """Read one sheet as it is: texts stripped, numbers as numbers, empty cells and ``N/A`` as None.

    Args:
        path: A .xls, .xlsx, .csv or .tsv.
        required: Columns that the table must have once.
        sheet: Name of the sheet; the first is read if None, or if there is no such sheet.
        comments: Lines of a text that begin with this are left out.

    Returns:
        The rows; the index is the row's number in the file (the header is row 1).

    Raises:
        InputError: If the file can't be read, lacks a required column or has it twice, or has a row longer than the header.
    """
    found = read_table(Path(path), sheet, comments)
    header = found.header
    if missing := [name for name in required if name not in header]:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(filter(None, header)) or 'none'}. "
            "Is it the table that belongs to this cohort?"
        )
    if twice := [name for name in required if header.count(name) > 1]:
        raise InputError(f"{path} has the column(s) {', '.join(twice)} twice; expected each once.")
    rows = found.rows()
    table = pd.DataFrame(list(rows.values()), columns=header, index=list(rows), dtype=object)
    table = table.loc[:, [name != "" for name in header]]
    return table[table.notna().any(axis=1)]


def read_published(path: Path | str, required: tuple[str, ...], sheet: str | None = None) -> list[Row]:
    """The rows of a published cohort's table; see `read_spreadsheet`."""
    table = read_spreadsheet(path, required, sheet)[[*required]]
    return [
        Row(Path(path), int(number), cells) for number, cells in zip(table.index, table.to_dict("records"), strict=True)
    ]
