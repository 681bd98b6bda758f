"""A user's own scans, named one by one in a table: participant, session, path of the image, and any variables."""

import os
from collections.abc import Sequence
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.sources.local_files import pair_of
from neurocohort.sources.local_plan import LocalScan
from neurocohort.sources.local_scans import ingest_local
from neurocohort.sources.table_plan import plan_table


def ingest_table(
    table: Path | str, folder: Path | str, *, modalities: Sequence[str] = ("T1w",), base: Path | str | None = None
) -> dict:
    """Turn the scans that a table names into the raw BIDS layout under ``folder``.

    The table (.csv, .tsv or .xlsx) has a row a scan: ``participant_id`` and ``path`` are needed, ``session_id`` is ses-1
    where it is left out, and ``path_T2w``, ``path_PDw`` and ``path_FLAIR`` are needed where ``modalities`` has them.
    ``path_dseg`` is the scan's reference segmentation (see `local_labels`), for the rows that have one. Every other column
    is a variable. Paths are absolute or start from ``base``, the table's own folder by default. A .nii.gz is
    linked, .nii and Analyze are written as .nii.gz, and a scan whose image is missing or can't be read is excluded.

    Returns the numbers of scans, participants, excluded rows and the notes. Raises InputError where the table can't be
    read, a row's IDs aren't letters and digits, two rows are of one participant and session, or no scan can be used.
    """
    table, folder, base = Path(table), Path(folder), Path(base) if base else None
    plan = plan_table(table, modalities=modalities, base=base)
    for scan in plan.scans:
        _check_outside(table, scan, folder)
    return ingest_local(plan, folder, {"Name": table.stem, "DatasetType": "raw"}, table)


def _check_outside(table: Path, scan: LocalScan, folder: Path) -> None:
    """Images in the folder that ingest writes would be links to themselves, or be removed as those of an earlier run."""
    place = os.path.realpath(folder)
    for path in filter(None, (*scan.images.values(), scan.labels)):
        parents = (os.path.realpath(one.parent) for one in (path, *pair_of(path)))
        if any(place in (parent, *map(str, Path(parent).parents)) for parent in parents):
            raise InputError(
                f"{table}, {scan.scan_id} has the image {path}, which lies in {folder}, where this cohort is written; "
                "move the image, "
                "or call the cohort something else."
            )
