"""The ingest of a user's table of scans: participant, session, path of the image, and any variables."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from neurocohort.errors import InputError
from neurocohort.sources.columns import IngestResult
from neurocohort.sources.local_files import pair_of
from neurocohort.sources.local_masks import want_structures
from neurocohort.sources.local_plan import LocalScan
from neurocohort.sources.local_scans import ingest_local
from neurocohort.sources.table_plan import plan_table


def ingest_table(
    table: Path | str,
    folder: Path | str,
    *,
    modalities: Sequence[str] = ("T1w",),
    base: Path | str | None = None,
    structures: Mapping[str, list[int]] | None = None,
    masks: Mapping[str, str] | None = None,
) -> IngestResult:
    """Turn the scans of a table into the raw BIDS layout.

    The table has one row per scan. It needs ``participant_id``, ``path`` and, for each extra modality, its path, such as
    ``path_T2w``. ``session_id`` is ses-1 if it is left out. ``path_dseg`` is the reference segmentation of a scan that has one
    (see `local_labels`). Every other column is a variable. A .nii.gz is linked; .nii and Analyze are written as .nii.gz. A scan
    whose image is absent or can't be read is excluded.

    Args:
        table: A .csv, .tsv or .xlsx.
        folder: The cohort's folder.
        modalities: T1w first.
        base: The folder of relative paths; the table's folder by default.
        structures: By name, their values in the label maps; None for CSF, GM and WM.
        masks: By name, structures with a mask of their own, and the column with its path.

    Raises:
        InputError: If the table can't be read, an ID can't be a BIDS label, two rows have the same participant and session, or
            no scan can be used.
    """
    table, folder, base = Path(table), Path(folder), Path(base) if base else None
    plan = plan_table(table, modalities=modalities, base=base, masks=masks)
    want_structures(plan, structures or {}, masks or {})
    for scan in plan.scans:
        _check_outside(table, scan, folder)
    return ingest_local(plan, folder, {"Name": table.stem, "DatasetType": "raw"}, table)


def _check_outside(table: Path, scan: LocalScan, folder: Path) -> None:
    """Raise InputError for an image in the cohort's folder: it would link to itself, or be deleted as one of an earlier run."""
    place = os.path.realpath(folder)
    for path in filter(None, (*scan.images.values(), scan.labels, *scan.masks.values())):
        parents = (os.path.realpath(one.parent) for one in (path, *pair_of(path)))
        if any(place in (parent, *map(str, Path(parent).parents)) for parent in parents):
            raise InputError(
                f"{table}, {scan.scan_id} has the image {path}, which is inside {folder}, where this cohort is written; move the "
                "image, or give the cohort another name."
            )
