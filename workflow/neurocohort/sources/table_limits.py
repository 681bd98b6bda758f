"""Refusing tables that would fill the memory before they are read: zip bombs, and cells far away from the others.

This module imports little, because the configuration is checked with it at the start of every Snakemake process.
"""

import io
import re
import zipfile
from typing import IO

LARGEST_UNPACKED = 512 << 20  # bytes of a workbook
MOST_CELLS = 10_000_000  # 10,000 scans with 1,000 variables
BLOCK_BYTES = 1 << 20
CELL = re.compile(rb'<c r="([A-Z]{1,3})([0-9]{1,7})"')
MERGED = re.compile(
    rb'<mergeCell ref="[A-Z]{1,3}[0-9]{1,7}:([A-Z]{1,3})([0-9]{1,7})"'
)  # a reader creates each of these cells


def check_table(content: bytes) -> None:
    """Raise ValueError if a .xlsx or a text would have more cells, or unpack to more bytes, than a cohort's table."""
    if content.startswith(b"PK\x03\x04"):
        _check_workbook(content)
        return
    delimiters = max(content.count(mark) for mark in (b",", b";", b"\t"))
    if delimiters + content.count(b"\n") > MOST_CELLS:
        raise ValueError(f"it has more than {MOST_CELLS} cells")


def check_reach(last_row: int, last_column: int) -> None:
    """Raise ValueError if the cells of a sheet are so far apart that the empty cells between them would fill the memory."""
    if last_row * last_column > MOST_CELLS:
        raise ValueError(
            f"its cells reach to row {last_row} and column {last_column}, more than {MOST_CELLS} cells; delete cells far "
            "away from the table"
        )


def _check_workbook(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        if sum(part.file_size for part in parts.infolist()) > LARGEST_UNPACKED:
            raise ValueError(f"it unpacks to more than {LARGEST_UNPACKED} bytes")
        for part in parts.infolist():
            if part.filename.startswith("xl/worksheets/"):
                with parts.open(part) as stream:
                    _check_sheet(stream)


def _check_sheet(stream: IO[bytes]) -> None:
    """Find the last row and column: a reader creates all cells up to there."""
    last_row = last_column = 0
    rest = b""
    while block := stream.read(BLOCK_BYTES):  # at most the size in the directory, which was checked
        block = rest + block
        for letters, row in (*CELL.findall(block), *MERGED.findall(block)):
            last_row, last_column = max(last_row, int(row)), max(last_column, _column(letters))
        rest = block[-64:]
    check_reach(last_row, last_column)


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number
