"""What lies in a user's own BIDS folder or table, as one hash of names, sizes and times: a new or changed file changes it.

Computed at the start of every Snakemake process, so no image is opened and the imports are light.
"""

import hashlib
import os
from pathlib import Path

from neurocohort.cohorts.local_files import (
    BIDS_SIDECARS,
    BIDS_TABLES,
    IMAGE_SUFFIXES,
    PATH_COLUMNS,
    anat_folders,
    named_file,
    pair_of,
    session_tables,
)
from neurocohort.cohorts.local_tables import read_local_table
from neurocohort.user_files import read_bytes

WATCHED_SUFFIXES = (*IMAGE_SUFFIXES, ".mat", ".dcm")  # a .mat file holds the orientation of an Analyze pair


def fingerprint_bids(source: Path | str) -> str:
    """sha256 (64 hexadecimal digits) over name, size and time of every image and table that ingest_bids may read.

    Raises InputError where ``source`` isn't a folder.
    """
    source = Path(source)
    digest = hashlib.sha256()
    tables = [source / name for name in (*BIDS_TABLES, *BIDS_SIDECARS)]
    for path in (*tables, *(path for _, path in session_tables(source))):
        _add(digest, path.name, path)
    for folder in anat_folders(source):
        place = f"{folder.participant_id}/{folder.session_id or ''}"
        if folder.problem:
            digest.update(os.fsencode(f"{folder.problem}\0"))
        for entry in folder.files:
            if entry.name.lower().endswith(WATCHED_SUFFIXES):
                _add(digest, f"{place}/{entry.name}", entry.path)
    return digest.hexdigest()


def fingerprint_table(table: Path | str, *, base: Path | None = None) -> str:
    """sha256 (64 hexadecimal digits) over the table's content, and size and time of each file that it names.

    ``base``: the folder that relative paths start from; the table's own where it is None. Raises InputError where the table
    can't be read or has no column ``path``.
    """
    table = Path(table)
    columns = tuple(PATH_COLUMNS.values())
    rows = read_local_table(table, required=("path",), kept=columns).rows
    digest = hashlib.sha256(read_bytes(table))
    for number, row in rows.items():
        for column in columns:
            if cell := row.get(column):
                path = named_file(cell, table, base)
                for one in pair_of(path) or (path,):
                    _add(digest, f"{number}/{column}/{one.suffix}", one)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", name: str, path: Path | str) -> None:
    """Take in one file; one that isn't there counts as absent, so that its coming is a change. Links are followed."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        digest.update(os.fsencode(f"{name}\0absent\0"))
    else:
        digest.update(os.fsencode(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0"))
