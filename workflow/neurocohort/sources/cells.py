"""The cells of a table of any form, as they stand: the content decides (.xls, .xlsx or text), not the file's name.

A cell that would be lost or taken for another value is an error with its row: an unclosed quote, a short row, a formula without
a value, merged cells. Imports stay light, because the configuration is checked with it at the start of every Snakemake process.
"""

import csv
import io
import re
from collections.abc import Iterable
from typing import NamedTuple

from neurocohort.sources.table_limits import check_reach, check_table

MISSING = ("", "N/A", "NA", "NAN")
# What other programs write for a missing value; here they are values, which `variables` notes or takes as missing.
MISSING_TEXTS = ("NONE", "NULL", "NIL", ".", "-", "--", "?", "MISSING", "#N/A", "#NUM!", "#VALUE!", "#REF!", "#DIV/0!")
MISSING_TEXTS += ("#NAME?", "#NULL!", "<NA>", "NAT", "N.A.", "N.A", "UNKNOWN", "UNK", "NOT AVAILABLE", "NOT APPLICABLE")
MISSING_TEXTS += ("\u2013", "\u2014")  # dashes of a word processor
MISSING_NUMBERS = (-1.0, -3.0, -4.0, -8.0, -9.0, -77.0, -88.0, -99.0, -777.0, -888.0, -999.0, -9999.0)
MISSING_NUMBERS += (88.0, 99.0, 777.0, 888.0, 998.0, 999.0, 8888.0, 9998.0, 9999.0, 99999.0)
DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)")
XLS, XLSX = bytes.fromhex("d0cf11e0"), b"PK\x03\x04"


class CellFault(ValueError):
    """A cell that can't be taken as it stands: the sentence names its row, and says what to do."""


class Unseen(NamedTuple):
    """What a workbook holds and a person who opens it may not see: ``what`` it is, where, and what becomes of it."""

    what: str
    places: list[str]
    outcome: str


def rows_of(
    content: bytes, sheet: str | None = None, comments: str | None = None, unseen: list[Unseen] | None = None
) -> list[list]:
    """The rows of one sheet. A workbook's numbers are numbers and its dates dates; in a text every cell is text.

    ``sheet`` names the sheet of a workbook; where it has none of that name, or None is given, the first is read. Text is
    UTF-8 with commas, semicolons or tabs between the cells, a line a row; lines that begin with ``comments`` are empty rows.
    ``unseen`` takes what a person may not see in the workbook. Raises CellFault for a cell that would be lost, and whatever its
    reader raises for content that is broken.
    """
    check_table(content)
    unseen = [] if unseen is None else unseen
    if content.startswith(XLS):
        return _rows_of_xls(content, sheet, unseen)
    if content.startswith(XLSX):
        return _rows_of_xlsx(content, sheet, unseen)
    text = content.decode("utf-8-sig")
    if text.lstrip()[:1] == "<" or "\0" in text:
        raise ValueError("it is not a table of text")
    return _rows_of_text(text, comments)


def sheets_of(content: bytes) -> list[str]:
    """The names of a workbook's sheets; none for a text."""
    if content.startswith(XLS):
        import xlrd

        return xlrd.open_workbook(file_contents=content, on_demand=True).sheet_names()
    if content.startswith(XLSX):
        import openpyxl

        return openpyxl.load_workbook(io.BytesIO(content), read_only=True).sheetnames
    return []


def clean(cell: object) -> object:
    """A cell without the blanks around it; None where it is empty, ``n/a``, ``NA`` or not a number."""
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
    split = _tab_cells if delimiter == "\t" else lambda number, line: _quoted_cells(number, line, delimiter)
    rows = [split(number, line) if line.strip() else [] for number, line in enumerate(lines, start=1)]
    for number, row in enumerate(rows, start=1):
        if row and len(row) < len(rows[0]):
            raise CellFault(
                f"row {number} has {len(row)} cell{'s' * (len(row) > 1)}, and the header has {len(rows[0])}: fill the row up "
                "with n/a, or fetch the table again if it is cut."
            )
    if delimiter == ";":  # as a spreadsheet program writes it where numbers have a decimal comma
        rows = [
            [DECIMAL_COMMA.sub(r"\1.\2", cell) if DECIMAL_COMMA.fullmatch(cell) else cell for cell in row]
            for row in rows
        ]
    return rows


def _tab_cells(number: int, line: str) -> list[str]:
    """BIDS' tables have no quoting, but other programs put every text in quotes: those around a whole cell are dropped."""
    cells = line.split("\t")
    for place, cell in enumerate(cells):
        cell = cell.strip()
        if cell.startswith('"'):
            if len(cell) < 2 or not cell.endswith('"'):
                raise _unclosed(number)
            cells[place] = cell[1:-1].replace('""', '"')
    return cells


def _quoted_cells(number: int, line: str, delimiter: str) -> list[str]:
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


def _rows_of_xls(content: bytes, sheet: str | None, unseen: list[Unseen]) -> list[list]:
    import xlrd  # by itself: pandas is about to drop its use

    book = xlrd.open_workbook(file_contents=content, formatting_info=True)  # formatting_info: merged cells
    page = book.sheet_by_name(sheet) if sheet in book.sheet_names() else book.sheet_by_index(0)
    _refuse_merged((low + 1, high, left, right) for low, high, left, right in page.merged_cells)
    rows = [number + 1 for number, row in page.rowinfo_map.items() if row.hidden and number < page.nrows]
    columns = [place + 1 for place, column in page.colinfo_map.items() if column.hidden and place < page.ncols]
    unseen += _hidden(page.name if page.visibility else None, rows, columns)

    def value(cell: "xlrd.sheet.Cell") -> object:
        if cell.ctype == xlrd.XL_CELL_DATE:
            return xlrd.xldate_as_datetime(cell.value, book.datemode) if cell.value >= 1 else cell.value
        if cell.ctype == xlrd.XL_CELL_ERROR:
            return xlrd.error_text_from_code.get(cell.value, "#N/A")
        return bool(cell.value) if cell.ctype == xlrd.XL_CELL_BOOLEAN else cell.value

    return [[value(cell) for cell in page.row(number)] for number in range(page.nrows)]


def _rows_of_xlsx(content: bytes, sheet: str | None, unseen: list[Unseen]) -> list[list]:
    import openpyxl
    from openpyxl.utils import get_column_letter

    def read(values: bool) -> "openpyxl.worksheet.worksheet.Worksheet":
        book = openpyxl.load_workbook(io.BytesIO(content), data_only=values)
        return book[sheet] if sheet in book.sheetnames else book.worksheets[0]

    page = read(values=True)
    _refuse_merged((one.min_row, one.max_row, one.min_col - 1, one.max_col) for one in page.merged_cells.ranges)
    check_reach(page.max_row, page.max_column)
    rows = [list(row) for row in page.iter_rows(values_only=True)]
    formulas = [
        (number, place)
        for number, row in enumerate(read(values=False).iter_rows())
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
    if lost:  # some were, so an empty text may be meant
        unseen.append(Unseen("formula(s) without a value", lost, "which are n/a"))
    hidden = [number for number, row in page.row_dimensions.items() if row.hidden and number <= page.max_row]
    columns = [one for one in page.column_dimensions.values() if one.hidden]
    places = [place for one in columns for place in range(one.min, min(one.max, page.max_column) + 1)]
    unseen += _hidden(page.title if page.sheet_state != "visible" else None, hidden, places)
    return rows


def _hidden(sheet: str | None, rows: Iterable[int], columns: Iterable[int]) -> Iterable[Unseen]:
    """What a spreadsheet program hides; ``sheet``: its name where it is hidden itself."""
    if sheet is not None:
        yield Unseen("hidden sheet", [sheet], "which is the one that is read; put the table in the first sheet")
    for what, numbers in (("row(s)", rows), ("column(s)", columns)):
        if places := [str(number) for number in sorted(numbers)]:
            outcome = "which are read like the others; delete those that aren't meant"
            yield Unseen(f"hidden {what}", places, outcome)


def _refuse_merged(ranges: Iterable[tuple[int, int, int, int]]) -> None:
    """Of merged cells only the first has a value, so the rows below it would be without one."""
    for top, bottom, left, right in ranges:
        if bottom > top or right - left > 1:
            raise CellFault(
                f"rows {top} to {bottom} have merged cells in column {left + 1}: only the first of them has the value, so split "
                "the cells and fill in each."
            )
