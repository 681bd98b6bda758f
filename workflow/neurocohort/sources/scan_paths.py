"""The files that scans.tsv names, for the rules: read at the start of Snakemake's every process, so with light imports."""

import csv
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.sources.columns import FILE_COLUMNS

MISSING = ("n/a", "")


def read_scan_paths(table: Path | str) -> dict[str, dict[str, str | None]]:
    """By scan_id, in the table's order, its files by column of ``scans.tsv``; None where a scan has none, and no entry for a
    column that the table hasn't. Raises InputError where the table can't be read or lacks ``scan_id`` or ``path``.
    """
    try:
        with open(table, newline="", encoding="utf-8") as stream:
            rows = csv.reader(stream, delimiter="\t")
            header = next(rows, [])
            places = {name: header.index(name) for name in FILE_COLUMNS if name in header}
            own, _ = header.index("scan_id"), header.index("path")
            return {
                row[own]: {name: None if row[place] in MISSING else row[place] for name, place in places.items()}
                for row in rows
            }
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise InputError(f"{table} can't be read as a table of scans: {error}. Delete it and run again.") from error
