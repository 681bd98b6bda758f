"""Reading a cohort's table, whatever its form: the content decides (.xls, .xlsx or text), not the file's name."""

import math
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError
from neurocohort.sources.cells import CellFault, clean, rows_of
from neurocohort.sources.variable_numbers import number_of
from neurocohort.user_files import read_bytes


def read_spreadsheet(
    path: Path | str, required: tuple[str, ...], sheet: str | None = None, comments: str | None = None
) -> pd.DataFrame:
    """Read one sheet as it stands: texts stripped, numbers as numbers, empty cells and ``N/A`` as None.

    The index holds the row's number in the file (the header is row 1), for messages. ``sheet`` names the sheet of a
    workbook; where it has none of that name, or None is given, the first is read. Raises InputError where the file
    can't be read, one of the columns ``required`` is absent or there twice, or a row has another length than the header. Lines
    of a text that begin with ``comments`` are left out.
    """
    path = Path(path)
    try:
        rows = rows_of(read_bytes(path), sheet, comments)
    except CellFault as fault:
        raise InputError(f"{path}, {fault}") from None
    except Exception as error:  # the readers raise their own kinds for each way that a workbook can be broken
        raise InputError(f"{path} can't be read as .xls, .xlsx or .csv ({error}): fetch it again.") from error
    header = [str(name).strip() if name is not None else "" for name in rows[0]] if rows else []
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(filter(None, header)) or 'none'}. "
            "Is it the table that belongs to this cohort?"
        )
    if twice := [name for name in required if header.count(name) > 1]:
        raise InputError(f"{path} has the column(s) {', '.join(twice)} twice; expected each once.")
    for place, row in enumerate(rows, start=1):
        if any(clean(cell) is not None for cell in row[len(header) :]):
            raise InputError(
                f"{path}, row {place} has {len(row)} cells, and the header has {len(header)}: put texts that hold the "
                "separator in quotes."
            )
    body = [[clean(cell) for cell in row[: len(header)]] + [None] * (len(header) - len(row)) for row in rows[1:]]
    table = pd.DataFrame(body, columns=header, index=pd.RangeIndex(2, len(body) + 2), dtype=object)
    table = table.loc[:, [name != "" for name in header]]
    return table[table.notna().any(axis=1)]


def number(
    path: Path | str, table: pd.DataFrame, row: int, column: str, limits: tuple[float, float] | None = None
) -> float | None:
    """The number in one cell, None where it is empty. Raises InputError where it is something else, or outside ``limits``."""
    cell = table.at[row, column]
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
    raise InputError(f"{path}, row {row}, column {column!r} holds {problem}: correct or empty the cell.")
