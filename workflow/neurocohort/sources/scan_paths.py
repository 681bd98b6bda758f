"""Reading the paths of scans.tsv for the rules. Every Snakemake process imports this module, so it imports little."""

import csv
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.sources.columns import FILE_COLUMNS

MISSING = ("n/a", "")


def read_scan_paths(table: Path | str) -> dict[str, dict[str, str | None]]:
    """The files of each scan, by scan_id (in the table's order) and column of ``scans.tsv``; None if a scan has none.

    Columns that the table lacks have no entry. Raises InputError if the table can't be read or lacks ``scan_id`` or ``path``.
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
