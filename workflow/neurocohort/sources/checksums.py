"""Tables with length and sha256 of files: ``checksums.tsv``, the record of downloads, and ``inputs.tsv`` of a cohort."""

import fcntl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pandas as pd

from neurocohort import files

RECORD = "checksums.tsv"  # in the folder of the downloads
COLUMNS = ("file", "bytes", "sha256")


def read_checksums(table: Path) -> dict[str, tuple[int, str]]:
    """Length and sha256 by file name; empty if there is no such table."""
    if not table.is_file():
        return {}
    rows = files.read_table(table, COLUMNS)[[*COLUMNS]].itertuples(index=False)
    return {str(name): (int(size), str(sha256)) for name, size, sha256 in rows}


def write_checksums(table: Path, sums: Mapping[str, tuple[int, str]]) -> None:
    """Write a table that `read_checksums` reads."""
    files.write_table(table, pd.DataFrame([(name, *found) for name, found in sums.items()], columns=[*COLUMNS]))


def record_checksum(path: Path, size: int, sha256: str) -> None:
    """Record a downloaded file in the table of its folder, and replace an earlier row."""
    record = path.with_name(RECORD)
    # Several downloads may finish at once, and each rewrites the whole table.
    with record.with_name(f".{RECORD}.lock").open("w") as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        write_checksums(record, dict(sorted((read_checksums(record) | {path.name: (size, sha256)}).items())))


def recorded_sha256(path: Path) -> str | None:
    """The recorded sha256 of a downloaded file, or of the file to which it is a link; None if there is none."""
    for place in dict.fromkeys((path, path.resolve())):
        if found := read_checksums(place.with_name(RECORD)).get(place.name):
            return found[1]
    return None
