"""The scans of a user's own cohort, once it is known which file is which: images and tables of the raw BIDS layout."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.files import private_as
from neurocohort.notes import Kind
from neurocohort.sources import raw_bids
from neurocohort.sources.inputs import record_inputs
from neurocohort.sources.local_files import LABELS, MODALITY_COLUMNS, tables_of
from neurocohort.sources.local_images import is_dicom, take_image
from neurocohort.sources.local_labels import DERIVATIVES, check_labels, describe_labels
from neurocohort.sources.local_plan import LocalPlan, LocalScan
from neurocohort.sources.local_tables import KNOWN_VARIABLES, few
from neurocohort.sources.variables import values_for_scans


def ingest_local(plan: LocalPlan, folder: Path, description: dict, source: Path) -> dict:
    """Bring every image of ``plan`` to the cohort's folder and write its tables; a scan with an image that can't be used is
    excluded.

    ``source`` is named in messages. Returns the numbers of scans, participants, excluded rows and the notes. Raises InputError
    where no scan can be used.
    """
    scans = plan.scans
    if scans and all(is_dicom(scan.images["T1w"]) for scan in scans):
        raise dicom_error(source, scans[0].images["T1w"])
    collected = raw_bids.Ingested(folder, tables=tables_of(source))
    for note in plan.notes.notes:
        collected.note(note.note, Kind(note.kind), note.participant_id, note.scan_id)
    for exclusion in plan.exclusions:
        collected.exclude(*exclusion)
    unoriented = [scan.scan_id for scan in scans if not _take(collected, scan)]
    if not collected.scans:
        reasons = (f"{row['scan_id'] or row['participant_id']}: {row['reason']}" for row in collected.exclusions[:3])
        raise InputError(f"{source} has no scan that can be used. {' '.join(reasons)}")
    describe_labels(collected, source)
    with private_as(collected.tables):
        record_inputs(collected, collected.tables, downloaded=False)
    if unoriented:
        collected.note(
            f"{len(unoriented)} image(s) don't say how the head lies in them (Analyze without a .mat file, or NIfTI without "
            f"sform and qform), and are read as nibabel reads them, as LAS; check left and right: {few(unoriented)}.",
            Kind.ORIENTATION,
        )
    keys = {scan_id: (row["participant_id"], row["session_id"]) for scan_id, row in sorted(collected.scans.items())}
    variables = values_for_scans(plan.tables, keys, plan.entries)
    for note in variables.notes.notes:
        collected.note(note.note, Kind(note.kind))
    for scan_id, values in variables.values.items():
        collected.scans[scan_id] |= values
    further = [name for name in variables.dictionary if name not in KNOWN_VARIABLES]
    participants = {scan_id: participant_id for scan_id, (participant_id, _) in keys.items()}
    kept = (*KNOWN_VARIABLES, *_of_participants(variables.values, participants, further))
    return raw_bids.write_tables(collected, variables.dictionary, description, kept)


def dicom_error(source: Path, example: Path) -> InputError:
    """The error for a source that holds nothing but DICOM, with the command that converts it."""
    folder = shlex.quote(str(example if os.path.isdir(example) else example.parent))
    return InputError(
        f"The scans of {source} are DICOM, such as {example.name}, and NIfTI is expected: convert them with "
        f"`dcm2niix -z y -o OUTPUT_FOLDER {folder}` and give the .nii.gz files that it writes."
    )


def _take(collected: raw_bids.Ingested, scan: LocalScan) -> bool:
    """Keep or exclude one scan; whether its images say how the head lies (an excluded one asks nothing of a person)."""
    folder = f"{scan.participant_id}/{scan.session_id}/anat"
    originals, targets = dict(scan.images), {}
    if scan.labels:
        originals[LABELS] = scan.labels
    for suffix in originals:
        targets[suffix] = f"{DERIVATIVES + '/' if suffix == LABELS else ''}{folder}/{scan.scan_id}_{suffix}.nii.gz"
    taken = {}
    for suffix, target in targets.items():
        try:
            taken[suffix] = take_image(collected, target, originals[suffix])
            if suffix == LABELS:
                check_labels(collected.folder / target, collected.folder / targets["T1w"])
        except ScanExcluded as exclusion:
            place = {"T1w": "", LABELS: "The reference segmentation: "}.get(suffix, f"The {suffix} image: ")
            collected.exclude(scan.participant_id, scan.scan_id, place + exclusion.reason)
            collected.drop_images(targets.values())
            return True
    collected.scans[scan.scan_id] = {
        "participant_id": scan.participant_id,
        "session_id": scan.session_id,
        "scan_id": scan.scan_id,
        "image_sha256": taken["T1w"].image_sha256,
        "voxels_sha256": taken["T1w"].voxels_sha256,
        **{MODALITY_COLUMNS[modality]: targets[modality] for modality in scan.images},
    }
    if scan.labels:  # drawn on the image itself: nothing is registered between them
        collected.scans[scan.scan_id] |= {"dseg_path": targets[LABELS], "dseg_reference_path": targets["T1w"]}
    return all(taken[modality].oriented for modality in scan.images)


def _of_participants(values: dict[str, dict], participants: dict[str, str], names: Iterable[str]) -> list[str]:
    """Those of ``names`` that have one value in all scans of each participant. ``participants``: by scan."""
    kept = []
    for name in names:
        first: dict[str, object] = {}
        if all(
            first.setdefault(participants[scan_id], row.get(name)) == row.get(name) for scan_id, row in values.items()
        ):
            kept.append(name)
    return kept
