"""The cells of a table of any form. The content decides (.xls, .xlsx or text), not the file's name.

A cell that would be lost or misread is an error with its row: an unclosed quote, a short row, a formula without a value, merged
cells. This module imports little, because the configuration is checked with it at the start of every Snakemake process.
"""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from neurocohort.errors import InputError
from neurocohort.sources.table_limits import check_reach, check_table
from neurocohort.user_files import UnusableFile, read_bytes

MISSING = ("", "N/A", "NA", "NAN")
# What other programs write for a missing value. `variables` notes them or takes them as missing.
MISSING_TEXTS = (
    *(
        "NONE",
        "NULL",
        "NIL",
        ".",
        "-",
        "--",
        "?",
        "MISSING",
        "#N/A",
        "#NUM!",
        "#VALUE!",
        "#REF!",
        "#DIV/0!",
        "#NAME?",
        "#NULL!",
    ),
    *("<NA>", "NAT", "N.A.", "N.A", "UNKNOWN", "UNK", "NOT AVAILABLE", "NOT APPLICABLE"),
    *("\u2013", "\u2014"),  # dashes of a word processor
)
MISSING_NUMBERS = (
    *(-1.0, -3.0, -4.0, -8.0, -9.0, -77.0, -88.0, -99.0, -777.0, -888.0, -999.0, -9999.0),
    *(88.0, 99.0, 777.0, 888.0, 998.0, 999.0, 8888.0, 9998.0, 9999.0, 99999.0),
)
DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)")
XLS, XLSX = bytes.fromhex("d0cf11e0"), b"PK\x03\x04"


class CellFault(ValueError):
    """A cell that can't be taken as it is: the sentence names its row and what to do."""


class Unseen(NamedTuple):
    """Content of a workbook that a person may not see: ``what`` it is, in which ``places``, and what ingest does with it."""

    what: str
    places: list[str]
    outcome: str


class Sheet(NamedTuple):
    """One sheet as it is. ``names``: all sheets of the workbook; none for a text. ``unseen``: what a person may not see in it."""

    rows: list[list]
    names: list[str]
    unseen: list[Unseen]


class Table(NamedTuple):
    """A sheet with a header. ``body``: the cells of the rows below it."""

    path: Path
    header: list[str]
    body: list[list]
    sheet: Sheet

    def rows(self) -> dict[int, list]:
        """The cleaned cells of each row by row number (the header is row 1), as many as the header has; no empty rows.

        Raises:
            InputError: If a row is longer than the header.
        """
        rows = {}
        for number, row in enumerate(self.body, start=2):
            cells = [clean(cell) for cell in row]
            if any(cell is not None for cell in cells[len(self.header) :]):
                raise InputError(
                    f"{self.path}, row {number} has {len(cells)} cells, and the header has {len(self.header)}: put texts that "
                    "hold the separator in quotes."
                )
            if any(cell is not None for cell in cells):
                rows[number] = cells[: len(self.header)] + [None] * (len(self.header) - len(cells))
        return rows


def read_table(path: Path, sheet: str | None = None, comments: str | None = None) -> Table:
    """Read a file with a header; the options are those of `read_sheet`.

    Raises:
        InputError: If the file can't be read, or a cell would be lost.
    """
    try:
        read = read_sheet(read_bytes(path), sheet, comments)
    except UnusableFile as fault:
        raise InputError(f"{path} {fault}; expected a .csv, .tsv or .xlsx file.") from None
    except CellFault as fault:
        raise InputError(f"{path}, {fault}") from None
    except Exception as error:  # the readers raise many kinds on broken files
        raise InputError(
            f"{path} can't be read as a table ({error}); expected .csv or .tsv in UTF-8, .xlsx or .xls, with a line of column "
            "names. Correct it, or fetch it again."
        ) from error
    first, *body = read.rows or [[]]
    return Table(path, ["" if cell is None else str(cell).strip() for cell in first], body, read)


def read_sheet(content: bytes, sheet: str | None = None, comments: str | None = None) -> Sheet:
    """Read one sheet of a workbook, or a text.

    Numbers and dates of a workbook keep their type; in a text every cell is text. A text is UTF-8 with one row per line and
    commas, semicolons or tabs between the cells.

    Args:
        content: The file.
        sheet: Name of the sheet; the first is read if None, or if there is no such sheet.
        comments: Lines of a text that begin with this are empty rows.

    Raises:
        CellFault: If a cell would be lost. Other exceptions of the reader for broken content.
    """
    check_table(content)
    if content.startswith(XLS):
        return _read_xls(content, sheet)
    if content.startswith(XLSX):
        return _read_xlsx(content, sheet)
    text = content.decode("utf-8-sig")
    if text.lstrip()[:1] == "<" or "\0" in text:
        raise ValueError("it is not a table of text")
    return Sheet(_rows_of_text(text, comments), [], [])


def clean(cell: object) -> object:
    """A cell without the blanks around it; None if it is empty, ``n/a``, ``NA`` or not a number."""
    if isinstance(cell, str):
        cell = cell.strip()
        return None if cell.upper() in MISSING else cell
    return None if isinstance(cell, float) and cell != cell else cell


def _rows_of_text(text: str, comments: str | None) -> list[list[str]]:
    lines = re.split(r"\r\n|\n|\r", text)
    lines = ["" if comments and line.startswith(comments) else line for line in lines]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        return []
    delimiter = max(",;\t", key=lines[0].count)
    rows = [_split(number, line, delimiter) if line.strip() else [] for number, line in enumerate(lines, start=1)]
    for number, row in enumerate(rows, start=1):
        if row and len(row) < len(rows[0]):
            raise CellFault(
                f"row {number} has {len(row)} cell{'s' * (len(row) > 1)}, and the header has {len(rows[0])}: write n/a in the "
                "missing cells, or fetch the table again if it is cut."
            )
    if delimiter == ";":  # as a spreadsheet program writes it where numbers have a decimal comma
        rows = [
            [DECIMAL_COMMA.sub(r"\1.\2", cell) if DECIMAL_COMMA.fullmatch(cell) else cell for cell in row]
            for row in rows
        ]
    return rows


def _tab_cells(number: int, line: str) -> list[str]:
    """Split a line at tabs. BIDS has no quoting, but other programs quote every text: quotes around a whole cell are dropped."""
    cells = line.split("\t")
    for place, cell in enumerate(cells):
        cell = cell.strip()
        if cell.startswith('"'):
            if len(cell) < 2 or not cell.endswith('"'):
                raise _unclosed(number)
            cells[place] = cell[1:-1].replace('""', '"')
    return cells


def _split(number: int, line: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return _tab_cells(number, line)
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        raise _unclosed(number) from None
    return cells


def _unclosed(number: int) -> CellFault:
    return CellFault(
        f"row {number} has a quote that isn't closed, or a line break inside a cell: put both quotes around the cell, or none, "
        "and each row in one line."
    )


def _read_xls(content: bytes, sheet: str | None) -> Sheet:
    import xlrd  # by itself: pandas is about to drop its use

    book = xlrd.open_workbook(file_contents=content, formatting_info=True)  # formatting_info: merged cells
    page = book.sheet_by_name(sheet) if sheet in book.sheet_names() else book.sheet_by_index(0)
    _refuse_merged((low + 1, high, left, right) for low, high, left, right in page.merged_cells)
    rows = [number + 1 for number, row in page.rowinfo_map.items() if row.hidden and number < page.nrows]
    columns = [place + 1 for place, column in page.colinfo_map.items() if column.hidden and place < page.ncols]
    unseen = _hidden(page.name if page.visibility else None, rows, columns)

    def value(cell: "xlrd.sheet.Cell") -> object:
        if cell.ctype == xlrd.XL_CELL_DATE:
            return xlrd.xldate_as_datetime(cell.value, book.datemode) if cell.value >= 1 else cell.value
        if cell.ctype == xlrd.XL_CELL_ERROR:
            return xlrd.error_text_from_code.get(cell.value, "#N/A")
        return bool(cell.value) if cell.ctype == xlrd.XL_CELL_BOOLEAN else cell.value

    cells = [[value(cell) for cell in page.row(number)] for number in range(page.nrows)]
    return Sheet(cells, book.sheet_names(), unseen)


def _read_xlsx(content: bytes, sheet: str | None) -> Sheet:
    import openpyxl
    from openpyxl.utils import get_column_letter

    book = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
    page = book[sheet] if sheet in book.sheetnames else book.worksheets[0]
    _refuse_merged((one.min_row, one.max_row, one.min_col - 1, one.max_col) for one in page.merged_cells.ranges)
    check_reach(page.max_row, page.max_column)
    rows = [list(row) for row in page.iter_rows(values_only=True)]
    formulas = [
        (number, place)
        for number, row in enumerate(openpyxl.load_workbook(io.BytesIO(content))[page.title].iter_rows())
        for place, cell in enumerate(row)
        if cell.data_type == "f"
    ]
    lost = [f"{get_column_letter(place + 1)}{row + 1}" for row, place in formulas if rows[row][place] is None]
    if formulas and len(lost) == len(formulas):  # never calculated, so never saved
        number, place = formulas[0]
        raise CellFault(
            f"row {number + 1}, column {get_column_letter(place + 1)} holds a formula without its value: open the file in a "
            "spreadsheet program and save it, or save it as .csv."
        )
    # Where some formulas were calculated, the others may give an empty text.
    unseen = [Unseen("formula(s) without a value", lost, "which are n/a")] if lost else []
    hidden = [number for number, row in page.row_dimensions.items() if row.hidden and number <= page.max_row]
    columns = [one for one in page.column_dimensions.values() if one.hidden]
    places = [place for one in columns for place in range(one.min, min(one.max, page.max_column) + 1)]
    unseen += _hidden(page.title if page.sheet_state != "visible" else None, hidden, places)
    return Sheet(rows, book.sheetnames, unseen)


def _hidden(sheet: str | None, rows: Iterable[int], columns: Iterable[int]) -> list[Unseen]:
    """What a spreadsheet program hides. ``sheet``: the sheet's name if it is hidden itself."""
    outcome = "which is the one that is read; put the table in the first sheet"
    found = [Unseen("hidden sheet", [sheet], outcome)] if sheet is not None else []
    for what, numbers in (("row(s)", rows), ("column(s)", columns)):
        if places := [str(number) for number in sorted(numbers)]:
            outcome = "which are read like the others; delete those that aren't meant"
            found.append(Unseen(f"hidden {what}", places, outcome))
    return found


def _refuse_merged(ranges: Iterable[tuple[int, int, int, int]]) -> None:
    """Raise CellFault for merged cells: only the first of them has the value."""
    for top, bottom, left, right in ranges:
        if bottom > top or right - left > 1:
            raise CellFault(
                f"rows {top} to {bottom} have merged cells in column {left + 1}: only the first of them has the value, so split "
                "the cells and fill in each."
            )
