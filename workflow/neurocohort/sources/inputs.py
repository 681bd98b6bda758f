"""What an ingest read: the sha256 of its archives and tables, held against what the download noted, kept for the report."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from neurocohort import files
from neurocohort.errors import InputError
from neurocohort.sources.raw_bids import Ingested
from neurocohort.user_files import harmless, read_bytes

NAME = "inputs.tsv"  # in the cohort's folder
COLUMNS = ("file", "bytes", "sha256")
RECORD = "checksums.tsv"  # of the download rule, beside the archives


def record_inputs(collected: Ingested, tables: Iterable[Path | str], *, downloaded: bool = True) -> None:
    """Write inputs.tsv: a row for each archive that was read, and for each of the cohort's ``tables``.

    Raises InputError where one isn't the file that was ``downloaded``: another one lies in its place since.
    """
    read = dict(collected.inputs)
    for table in map(Path, tables):
        content = read_bytes(table)
        read[table] = len(content), hashlib.sha256(content).hexdigest()
    for path, (_, sha256) in read.items() if downloaded else ():
        if (recorded := recorded_sha256(path)) not in (None, sha256):
            raise InputError(
                f"{path} isn't the file that was downloaded: its sha256 is {sha256}, and {recorded} is noted in {RECORD} beside "
                "it. Delete the file and run again to download it; if it is the right one, delete its line there."
            )
    rows = [(harmless(path.name), size, sha256) for path, (size, sha256) in read.items()]
    files.write_table(collected.folder / NAME, pd.DataFrame(rows, columns=list(COLUMNS)))


def read_inputs(folder: Path) -> dict[str, tuple[int, str]]:
    """By name, length and sha256 of what was read into a cohort's ``folder``; nothing where that isn't recorded."""
    if not (folder / NAME).is_file():
        return {}
    table = files.read_table(folder / NAME, COLUMNS)
    return {row["file"]: (int(row["bytes"]), str(row["sha256"])) for row in table.to_dict("records")}


def recorded_sha256(path: Path) -> str | None:
    """What a download noted of this file: beside it, or beside the file that it links to."""
    for place in dict.fromkeys((path, path.resolve())):
        record = place.with_name(RECORD)
        for row in files.read_table(record, COLUMNS).to_dict("records") if record.is_file() else ():
            if row["file"] == place.name:
                return str(row["sha256"])
    return None
