"""The cells of a table of any form, as they stand: the content decides (.xls, .xlsx or text), not the file's name.

Imports stay light, because the configuration is checked with it at the start of every Snakemake process.
"""

import csv
import io
import re

from neurocohort.cohorts.table_limits import check_table

MISSING = ("", "N/A", "NA", "NAN")
DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)")


def rows_of(content: bytes, sheet: str | None = None) -> list[list]:
    """The rows of one sheet. A workbook's numbers are numbers; in a text every cell is text.

    ``sheet`` names the sheet of a workbook; where it has none of that name, or None is given, the first is read. Text is
    UTF-8 with commas, semicolons or tabs between the cells. Raises whatever its reader raises for content that is broken.
    """
    check_table(content)
    if content.startswith(bytes.fromhex("d0cf11e0")):
        import xlrd  # by itself: pandas is about to drop its use

        book = xlrd.open_workbook(file_contents=content)
        page = book.sheet_by_name(sheet) if sheet in book.sheet_names() else book.sheet_by_index(0)
        return [page.row_values(number) for number in range(page.nrows)]
    if content.startswith(b"PK\x03\x04"):
        import openpyxl

        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        page = book[sheet] if sheet in book.sheetnames else book.worksheets[0]
        page.reset_dimensions()  # what the sheet claims, which needn't be true
        return [list(row) for row in page.iter_rows(values_only=True)]
    text = content.decode("utf-8-sig")
    first = text.split("\n", 1)[0]
    if text.lstrip()[:1] == "<" or "\0" in text:
        raise ValueError("it is not a table of text")
    delimiter = max(",;\t", key=first.count)
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    if delimiter == ";":  # as a spreadsheet program writes it where numbers have a decimal comma
        rows = [
            [DECIMAL_COMMA.sub(r"\1.\2", cell) if DECIMAL_COMMA.fullmatch(cell) else cell for cell in row]
            for row in rows
        ]
    return rows


def clean(cell: object) -> object:
    """A cell without the blanks around it; None where it is empty, ``n/a``, ``NA`` or not a number."""
    if isinstance(cell, str):
        cell = cell.strip()
        return None if cell.upper() in MISSING else cell
    return None if isinstance(cell, float) and cell != cell else cell
