"""The ingest of a user's own cohort after its plan is made: images and tables of the raw BIDS layout."""

import os
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.files import private_as
from neurocohort.notes import Kind
from neurocohort.sources.columns import KNOWN_VARIABLES, LABELS, MODALITY_COLUMNS, IngestResult, Scan
from neurocohort.sources.data_dictionary import Entry
from neurocohort.sources.diffusion import take_diffusion
from neurocohort.sources.inputs import record_inputs
from neurocohort.sources.local_files import tables_of
from neurocohort.sources.local_images import Taken, is_dicom, take_image
from neurocohort.sources.local_labels import DERIVATIVES, check_labels, describe_own_labels
from neurocohort.sources.local_plan import LocalPlan, LocalScan
from neurocohort.sources.local_structures import Structures, take_structures
from neurocohort.sources.raw_bids import Ingested, write_tables
from neurocohort.sources.variables import values_for_scans
from neurocohort.structures import TISSUES


def check_source_outside(source: Path, folder: Path) -> None:
    """Raise InputError if the user's folder is inside the cohort's: its images would be deleted as those of an earlier run."""
    place, real = Path(os.path.realpath(folder)), Path(os.path.realpath(source))
    if place in (real, *real.parents):
        raise InputError(
            f"{source} is inside {folder}, where this cohort is written; move it, or give the cohort another name."
        )


def ingest_local(
    plan: LocalPlan, folder: Path, description: Entry, source: Path, tables: Sequence[Path] | None = None
) -> IngestResult:
    """Bring every image of a plan into the cohort's folder and write its tables. A scan with an unusable image is excluded.

    Args:
        plan: The scans.
        folder: The cohort's folder.
        description: Content of ``dataset_description.json``.
        source: The user's folder or table, for messages.
        tables: The tables that were read; those of ``source`` by default.

    Raises:
        InputError: If no scan can be used.
    """
    if plan.scans and all(is_dicom(scan.images["T1w"]) for scan in plan.scans):
        raise dicom_error(source, plan.scans[0].images["T1w"])
    collected = Ingested(folder, tables=tables_of(source) if tables is None else [*tables])
    collected.notes.extend(plan.notes.notes)
    for exclusion in plan.exclusions:
        collected.exclude(*exclusion)
    structures = Structures(plan.structures, plan.masks)
    unoriented = [scan.scan_id for scan in plan.scans if not _take(collected, scan, structures)]
    if not collected.scans:
        reasons = (f"{row.scan_id or row.participant_id}: {row.reason}" for row in collected.exclusions[:3])
        raise InputError(f"{source} has no scan that can be used. {' '.join(reasons)}")
    describe_own_labels(collected, source.resolve().name, structures.names or TISSUES)
    structures.note(collected)
    with private_as(collected.tables):
        record_inputs(collected, collected.tables, downloaded=False)
    collected.notes.add_list(
        Kind.ORIENTATION,
        unoriented,
        "image(s) don't state the orientation of the head (Analyze without a .mat file, or NIfTI without sform and qform), and "
        "are read as nibabel reads them, as LAS; check left and right",
    )
    keys = {scan_id: (scan.participant_id, scan.session_id) for scan_id, scan in sorted(collected.scans.items())}
    variables = values_for_scans(plan.tables, keys, plan.entries)
    collected.notes.extend(variables.notes.notes)
    for scan_id, values in variables.values.items():
        collected.scans[scan_id].variables.update(values)
    kept = [name for name in variables.dictionary if name not in KNOWN_VARIABLES and _is_constant(collected, name)]
    return write_tables(collected, variables.dictionary, description, (*KNOWN_VARIABLES, *kept))


def dicom_error(source: Path, example: Path) -> InputError:
    """The error for a source that has only DICOM, with the command that converts it."""
    folder = shlex.quote(str(example if os.path.isdir(example) else example.parent))
    return InputError(
        f"The scans of {source} are DICOM, such as {example.name}, and NIfTI is expected: convert them with "
        f"`dcm2niix -z y -o OUTPUT_FOLDER {folder}` and give the .nii.gz files that it writes."
    )


def _take(collected: Ingested, scan: LocalScan, structures: Structures) -> bool:
    """Keep or exclude one scan. Returns whether its images state their orientation; True if it is excluded."""
    originals = scan.images | ({LABELS: scan.labels} if scan.labels else {})
    place = f"{scan.participant_id}/{scan.session_id}/anat/{scan.scan_id}"
    targets = {suffix: f"{place}_{suffix}.nii.gz" for suffix in scan.images}
    if scan.segmented:
        targets[LABELS] = f"{DERIVATIVES}/{place}_{LABELS}.nii.gz"
    taken: dict[str, Taken] = {}
    diffusion: dict[str, str] = {}
    for suffix, target in targets.items():
        try:
            image_path = collected.folder / targets["T1w"]
            if suffix == LABELS and structures.names:
                take_structures(collected, target, scan, image_path, structures)
                continue
            taken[suffix] = take_image(collected, target, originals[suffix])
            if suffix == LABELS:
                check_labels(collected.folder / target, image_path)
        except ScanExcluded as exclusion:
            whose = {"T1w": "", LABELS: "The reference segmentation: "}.get(suffix, f"The {suffix} image: ")
            collected.exclude(scan.participant_id, scan.scan_id, whose + exclusion.reason)
            collected.drop_images(targets.values())
            return True
    if scan.diffusion:
        try:
            diffusion = take_diffusion(collected, scan.participant_id, scan.session_id, scan.scan_id, scan.diffusion)
        except ScanExcluded as exclusion:
            reason = f"The diffusion-weighted images: {exclusion.reason}"
            collected.exclude(scan.participant_id, scan.scan_id, reason)
            collected.drop_images(targets.values())
            return True
    files = {MODALITY_COLUMNS[modality]: targets[modality] for modality in scan.images if modality != "T1w"}
    files |= diffusion
    if scan.segmented:  # drawn on the image itself, without a registration
        files |= {"dseg_path": targets[LABELS], "dseg_reference_path": targets["T1w"]}
    t1w = taken["T1w"].image
    collected.scans[scan.scan_id] = Scan(scan.participant_id, scan.session_id, scan.scan_id, t1w, files)
    return all(taken[modality].oriented for modality in scan.images)


def _is_constant(collected: Ingested, name: str) -> bool:
    """Whether a variable has one value in all scans of each participant."""
    values = defaultdict(set)
    for scan in collected.scans.values():
        values[scan.participant_id].add(scan.variables.get(name))
    return all(len(found) == 1 for found in values.values())
