"""The table of what an ingest read, ``inputs.tsv``: archives and tables with their sha256, for the report."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.sources.checksums import RECORD, read_checksums, recorded_sha256, write_checksums
from neurocohort.sources.raw_bids import Ingested
from neurocohort.user_files import harmless, read_bytes

NAME = "inputs.tsv"  # in the cohort's folder


def record_inputs(collected: Ingested, tables: Iterable[Path | str], *, downloaded: bool = True) -> None:
    """Write ``inputs.tsv``: a row for each archive that was read, and for each of the cohort's ``tables``.

    Raises:
        InputError: If the files were ``downloaded`` and one differs from the recorded download.
    """
    read = dict(collected.inputs)
    for table in map(Path, tables):
        content = read_bytes(table)
        read[table] = len(content), hashlib.sha256(content).hexdigest()
    for path, (_, sha256) in read.items() if downloaded else ():
        if (recorded := recorded_sha256(path)) not in (None, sha256):
            raise InputError(
                f"{path} isn't the file that was downloaded: its sha256 is {sha256}, and {RECORD} in its folder has {recorded}. "
                "Delete the file and run again to download it; if it is the right one, delete its line in that table."
            )
    write_checksums(collected.folder / NAME, {harmless(path.name): found for path, found in read.items()})


def read_inputs(folder: Path) -> dict[str, tuple[int, str]]:
    """Length and sha256, by name, of the files from which a cohort's ``folder`` was made; empty if not recorded."""
    return read_checksums(folder / NAME)
