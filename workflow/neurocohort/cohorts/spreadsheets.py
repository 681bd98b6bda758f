"""Reading a cohort's table, whatever its form: the content decides (.xls, .xlsx or text), not the file's name."""

import csv
import io
from pathlib import Path

import pandas as pd

from neurocohort.errors import InputError


def read_spreadsheet(path: Path | str, required: tuple[str, ...], sheet: str | None = None) -> pd.DataFrame:
    """Read one sheet as it stands: texts stripped, numbers as numbers, empty cells and ``N/A`` as None.

    The index holds the row's number in the file (the header is row 1), for messages. ``sheet`` names the sheet of a
    workbook; where it has none of that name, or None is given, the first is read. Raises InputError where the file
    can't be read or one of the columns ``required`` is absent.
    """
    path = Path(path)
    try:
        rows = _rows(path.read_bytes(), sheet)
    except Exception as error:  # the readers raise their own kinds for each way that a workbook can be broken
        raise InputError(f"{path} can't be read as .xls, .xlsx or .csv ({error}): fetch it again.") from error
    header = [str(name).strip() if name is not None else "" for name in rows[0]] if rows else []
    missing = [name for name in required if name not in header]
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(filter(None, header)) or 'none'}. "
            "Is it the table that belongs to this cohort?"
        )
    body = [[_clean(cell) for cell in row[: len(header)]] + [None] * (len(header) - len(row)) for row in rows[1:]]
    table = pd.DataFrame(body, columns=header, index=pd.RangeIndex(2, len(body) + 2), dtype=object)
    table = table.loc[:, [name != "" for name in header]]
    return table[table.notna().any(axis=1)]


def _rows(content: bytes, sheet: str | None) -> list[list]:
    if content.startswith(bytes.fromhex("d0cf11e0")):
        import xlrd  # by itself: pandas is about to drop its use

        book = xlrd.open_workbook(file_contents=content)
        page = book.sheet_by_name(sheet) if sheet in book.sheet_names() else book.sheet_by_index(0)
        return [page.row_values(number) for number in range(page.nrows)]
    if content.startswith(b"PK\x03\x04"):
        import openpyxl

        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        page = book[sheet] if sheet in book.sheetnames else book.worksheets[0]
        return [list(row) for row in page.iter_rows(values_only=True)]
    text = content.decode("utf-8-sig")
    first = text.split("\n", 1)[0]
    if text.lstrip()[:1] == "<" or "\0" in text:
        raise ValueError("it is not a table of text")
    return list(csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count)))


def _clean(cell: object) -> object:
    if isinstance(cell, str):
        cell = cell.strip()
        return None if cell.upper() in ("", "N/A", "NA", "NAN") else cell
    return None if isinstance(cell, float) and cell != cell else cell


def number(path: Path | str, table: pd.DataFrame, row: int, column: str) -> float | None:
    """The number in one cell, None where it is empty. Raises InputError where it is something else."""
    cell = table.at[row, column]
    if cell is None:
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise InputError(
            f"{path}, row {row}, column {column!r} holds {cell!r} where a number is expected: correct or empty "
            "the cell."
        ) from None
