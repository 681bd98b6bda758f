"""Checks by content that a downloaded table is whole: a server that states no length may close the connection anywhere."""

import csv
import io
import struct
import zipfile
import zlib
from pathlib import Path

from neurocohort.sources.cells import read_sheet
from neurocohort.sources.table_limits import check_table
from neurocohort.user_files import UnusableFile, read_bytes

TABLES = ("csv", "xls", "xlsx")
OLE_HEADER_BYTES = 512
OLE_FREE = 0xFFFFFFFF  # an unused sector
OLE_HEADER_SECTORS = 109  # numbers of allocation-table sectors in the header


def why_table_is_cut(path: Path, magic: str) -> str | None:
    """A sentence on why the table isn't whole, or None.

    A whole .csv ends with a line end and has all columns in each row, a .xls has every sector that it uses, and a .xlsx has its
    directory and the correct checksum of each part.
    """
    try:
        content = read_bytes(path)
    except UnusableFile as fault:
        return f"the table {fault}."
    problem = {"csv": _text_fault, "xls": _ole_fault, "xlsx": _zip_fault}[magic](content)
    return problem and f"the table is cut short or damaged ({problem})."


def _text_fault(content: bytes) -> str | None:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return str(error)
    if not text.endswith(("\n", "\r")):
        return f"its last line, {text.splitlines()[-1][:40]!r}, has no end"
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return str(error)
    for number, row in enumerate(rows, start=1):
        if row and len(row) != len(rows[0]):
            return f"row {number} has {len(row)} cells, and the header has {len(rows[0])}"
    return None


def _zip_fault(content: bytes) -> str | None:
    try:
        check_table(content)
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            damaged = parts.testzip()
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
        return str(error)
    return f"its part {damaged} is damaged" if damaged else None


def _ole_fault(content: bytes) -> str | None:
    """Check an old Excel file (OLE) by its allocation table, which lists the sectors in use."""
    try:
        sector_bytes = 1 << struct.unpack_from("<H", content, 30)[0]
        tables = struct.unpack_from("<I", content, 44)[0]
        places = struct.unpack_from(f"<{OLE_HEADER_SECTORS}I", content, 76)[: min(tables, OLE_HEADER_SECTORS)]
        per_table = sector_bytes // 4
        for place, sector in enumerate(places):
            entries = struct.unpack_from(f"<{per_table}I", content, OLE_HEADER_BYTES + sector * sector_bytes)
            used = [place * per_table + number for number, entry in enumerate(entries) if entry != OLE_FREE]
            end = OLE_HEADER_BYTES + (used[-1] + 1) * sector_bytes if used else 0
            if end > len(content):
                return f"it has {len(content)} bytes, and its last sector ends at {end}"
        read_sheet(content)
    except Exception as error:  # the reader raises its own kinds for each way that a workbook can be broken
        return str(error) or type(error).__name__
    return None
