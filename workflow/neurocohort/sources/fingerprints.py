"""What lies in a user's own BIDS folder or table, as one hash: a new, changed or missing file changes it, a touched one doesn't.

Computed at the start of every Snakemake process, so no image is opened that has its size and time of the last time, and the
imports are light.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from neurocohort.files import sha256_of
from neurocohort.sources.columns import PATH_COLUMNS
from neurocohort.sources.local_files import (
    BIDS_SIDECARS,
    BIDS_TABLES,
    IMAGE_SUFFIXES,
    anat_folders,
    named_file,
    pair_of,
    scans_table,
    session_tables,
    sidecar,
)
from neurocohort.sources.local_tables import read_local_table
from neurocohort.sources.seen_files import NAME, SeenFiles
from neurocohort.user_files import read_bytes

# A .mat file holds the orientation of an Analyze pair, and a .json may hold the age at the scan.
WATCHED_SUFFIXES = (*IMAGE_SUFFIXES, ".mat", ".dcm", ".json")
SMALL_BYTES = 1_000_000  # files that the ingest didn't hash are hashed up to this size, such as tables


def fingerprint_bids(source: Path | str, folder: Path | str | None = None) -> str:
    """sha256 (64 hexadecimal digits) over name and mark of every image and table that ingest_bids may read.

    ``folder``: the cohort's, in which it is kept what was seen (see `SeenFiles`). Raises InputError where ``source`` isn't a
    folder.
    """
    return _fingerprint(hashlib.sha256(), _watched_bids(Path(source)), folder)


def fingerprint_table(table: Path | str, folder: Path | str | None = None, *, base: Path | None = None) -> str:
    """sha256 (64 hexadecimal digits) over the table's content, and the mark of each file that it names.

    ``folder``: as of `fingerprint_bids`. ``base``: the folder that relative paths start from; the table's own where it is None.
    Raises InputError where the table can't be read or has no column ``path``.
    """
    table = Path(table)
    watched = _watched_table(table, base)  # which says what is wrong with a table that can't be read
    return _fingerprint(hashlib.sha256(read_bytes(table)), watched, folder)


def note_sources(source: Path | str, folder: Path | str, hashes: Mapping[Path, str]) -> None:
    """Keep in the cohort's ``folder`` what is in the files of ``source``, a BIDS folder or a table, after the ingest.

    ``hashes``: the sha256 of the files that the ingest read. The others, which it only looks at the names of, are hashed here
    where they are small.
    """
    source, seen = Path(source), SeenFiles(Path(folder) / NAME)
    watched = _watched_bids(source) if os.path.isdir(source) else _watched_table(source, None)
    for _, path in watched:
        sha256 = hashes.get(Path(path).absolute())
        with contextlib.suppress(OSError):
            if sha256 is None and os.path.isfile(path) and os.stat(path).st_size <= SMALL_BYTES:
                sha256 = sha256_of(path)
        if sha256 is not None:
            seen.note(path, sha256)
    seen.save()


def _fingerprint(digest: "hashlib._Hash", watched: Iterable[tuple[str, Path | str]], folder: Path | str | None) -> str:
    seen = SeenFiles(folder and Path(folder) / NAME)
    for name, path in watched:
        digest.update(os.fsencode(f"{name}\0{seen.mark(path) if path else ''}\0"))
    seen.save()
    return digest.hexdigest()


def _watched_bids(source: Path) -> Iterator[tuple[str, Path | str]]:
    """A name and the path of each file that matters, there or not; what is wrong with a folder has no path."""
    tables = [source / name for name in (*BIDS_TABLES, *BIDS_SIDECARS)]
    sessions = [path for _, path in session_tables(source)]
    for path in (*tables, *sessions, *(path.with_suffix(".json") for path in sessions)):
        yield path.name, path
    for folder in anat_folders(source):
        place = f"{folder.participant_id}/{folder.session_id or ''}"
        times = scans_table(source, *filter(None, folder[:2]))
        yield times.name, times
        if folder.problem:
            yield folder.problem, ""
        for entry in folder.files:
            if entry.name.lower().endswith(WATCHED_SUFFIXES):
                yield f"{place}/{entry.name}", entry.path


def _watched_table(table: Path, base: Path | None) -> list[tuple[str, Path]]:
    columns, found = tuple(PATH_COLUMNS.values()), []
    rows = read_local_table(table, required=("path",), kept=columns).rows
    for number, row in rows.items():
        for column in columns:
            if cell := row.get(column):
                path = named_file(cell, table, base)
                named = [*(pair_of(path) or (path,)), *([sidecar(path)] if column == "path" else [])]
                found += [(f"{number}/{column}/{one.suffix}", one) for one in named]
    return found
