"""Writing the raw BIDS layout that every source is turned into: images, tables and what explains them.

An image whose bytes are on disk already is left alone, with its time, so that ingesting again reruns nothing after it.
"""

import contextlib
import gzip
import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from neurocohort import files
from neurocohort.nifti_files import nifti_from_bytes, spatial_shape
from neurocohort.notes import Kind, Notes, write_notes
from neurocohort.sources.scan_batches import content_of
from neurocohort.sources.scan_paths import FILE_COLUMNS
from neurocohort.user_files import harmless, is_formula
from neurocohort.version import BIDS_VERSION

logger = logging.getLogger(__name__)

STAGE = "ingest"
MODALITIES = ("T1w", "T2w", "PDw", "FLAIR")  # BIDS suffixes; the first is what every scan has
SCAN_COLUMNS = ("participant_id", "session_id", "scan_id", "site", "scanner", "path", "image_sha256", "voxels_sha256")
SCAN_COLUMNS += (*(f"path_{modality}" for modality in MODALITIES[1:]), "dseg_path", "dseg_reference_path", "age", "sex")
EXCLUSION_COLUMNS = ("participant_id", "scan_id", "stage", "reason")
# On a 1 mm head with its noise level 3 leaves 10.1 MB in 0.6 s, level 6 9.9 MB in 1.7 s, level 9 9.8 MB in 13 s.
GZIP_LEVEL = 3
IMAGE_PATTERNS = ("sub-*/ses-*/anat/sub-*.nii.gz", "derivatives/*/sub-*/ses-*/anat/sub-*.nii.gz")

FORMULAS_SHOWN = 3
COPIES_SHOWN = 5
OWN_TABLES = ("scans", "exclusions", "inputs", "batches", "notes")  # that BIDS doesn't know

COMMON_COLUMNS = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session: one visit of a participant"},
    "scan_id": {"Description": "Scan: participant and session together"},
    "site": {"Description": "Where the scan was acquired"},
    "scanner": {"Description": "Vendor and field strength of the scanner"},
    "path": {"Description": "The T1-weighted image, relative to this folder"},
    "image_sha256": {"Description": "sha256 of the image file as it lies here"},
    "voxels_sha256": {
        "Description": "sha256 of the image's voxels and shape, whatever its header, orientation and compression"
    },
    "path_T2w": {"Description": "The session's T2-weighted image, relative to this folder"},
    "path_PDw": {"Description": "The session's proton-density-weighted image, relative to this folder"},
    "path_FLAIR": {"Description": "The session's FLAIR image, relative to this folder"},
    "dseg_path": {"Description": "Tissue labels that came with the cohort, relative to this folder"},
    "dseg_reference_path": {"Description": "The image on whose grid the tissue labels are drawn"},
}


@dataclass
class Ingested:
    """What an ingest collects while the archives stream by. ``notes`` become ``notes.tsv``, and stand in the log too. ``images``:
    the sha256 of each image that lies in the folder, by its path there; ``originals``: the sha256 of each file of the user's that
    was read; ``inputs``: length and sha256 of the archives, as they were read; ``tables``: the user's, from which the tables here
    are made."""

    folder: Path
    scans: dict[str, dict] = field(default_factory=dict)
    exclusions: list[dict] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    images: dict[str, str] = field(default_factory=dict)
    originals: dict[Path, str] = field(default_factory=dict)
    inputs: dict[Path, tuple[int, str]] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)

    def write_image(self, path: str, content: bytes, original: Path | None = None) -> str:
        """Write ``content`` at ``path`` (relative to the folder) unless it is there; return its sha256.

        The image gets no permission for group and others that the file ``original``, which it comes from, lacks.
        """
        target = self.folder / path
        if not (target.is_file() and target.stat().st_size == len(content) and target.read_bytes() == content):
            with files.written_aside(target) as aside:
                aside.write_bytes(content)
        if original is not None:
            files.keep_private(target, original)
        self.images[path] = hashlib.sha256(content).hexdigest()
        return self.images[path]

    def link_image(self, path: str, original: Path) -> str:
        """Put a link to the file ``original`` at ``path`` (relative to the folder); return its sha256."""
        target = self.folder / path
        if not (target.is_symlink() and target.readlink() == original):
            with files.written_aside(target) as aside:
                aside.symlink_to(original)
        self.images[path] = self.note_original(original)
        return self.images[path]

    def note_original(self, path: Path) -> str:
        """Keep the sha256 of a file of the user's that was read; return it."""
        self.originals[path.absolute()] = files.sha256_of(path)
        return self.originals[path.absolute()]

    def drop_images(self, paths: Iterable[str]) -> None:
        """Leave out images that belong to no scan; those that lie in the folder are deleted with the next `write_tables`."""
        for path in paths:
            self.images.pop(path, None)

    def exclude(self, participant_id: str | None, scan_id: str | None, reason: str) -> None:
        """Add a row to the exclusions table. Line breaks and other unprintable characters are escaped."""
        row = {"participant_id": participant_id, "scan_id": scan_id, "stage": STAGE, "reason": reason}
        self.exclusions.append({name: text and harmless(text) for name, text in row.items()})

    def note(
        self, sentence: str, kind: Kind = Kind.OTHER, participant_id: str | None = None, scan_id: str | None = None
    ) -> None:
        """Keep a sentence that a person should see, and that excludes nothing; of one scan where that is named."""
        logger.warning(self.notes.add(kind, sentence, participant_id, scan_id).shown)


def write_tables(
    collected: Ingested, variables: dict[str, dict], description: dict, participant_columns: tuple[str, ...]
) -> dict:
    """Write every table of the raw BIDS folder and remove the images that no longer belong to it.

    ``variables`` maps each column after ``dseg_reference_path`` to its entry of the data dictionary;
    ``participant_columns`` are those of ``participants.tsv``, taken from the participant's first session.
    Returns the numbers of scans, participants and excluded rows, the notes, by scan_id the hash of all that preprocessing reads
    of it (`contents`), and the sha256 of the user's own files that were read (`originals`).
    """
    given = set().union(*(row.keys() for row in collected.scans.values()))
    own = [name for name in SCAN_COLUMNS if name in given or not name.startswith("path_")]
    columns = [*own, *(name for name in variables if name not in own)]
    rows = [[_tidy(collected.scans[key].get(name)) for name in columns] for key in sorted(collected.scans)]
    scans = pd.DataFrame(rows, columns=columns, dtype=object)
    for name in columns:
        scans[name] = _without_formulas(collected, name, scans[name])
    _note_copies(collected)
    exclusions = pd.DataFrame(collected.exclusions, columns=EXCLUSION_COLUMNS)
    exclusions = exclusions.sort_values(["participant_id", "scan_id", "reason"], kind="stable")
    participants = scans.drop_duplicates("participant_id")[["participant_id", *participant_columns]]

    folder = collected.folder
    _remove_stale_images(collected)
    with files.private_as(collected.tables):
        files.write_table(folder / "participants.tsv", participants)
        dictionary = {name: entry for name, entry in COMMON_COLUMNS.items() if name in own} | variables
        files.write_json(folder / "participants.json", dictionary)
        files.write_table(folder / "exclusions.tsv", exclusions)
        files.write_json(folder / "dataset_description.json", {"BIDSVersion": BIDS_VERSION, **description})
        files.write_text(folder / ".bidsignore", "".join(f"/{name}.tsv\n" for name in OWN_TABLES))
        write_notes(folder / "notes.tsv", collected.notes.notes)
        files.write_table(folder / "scans.tsv", scans)  # last: where it stands, the rest does
    return {
        "scans": len(scans),
        "participants": len(participants),
        "excluded": len(exclusions),
        "notes": [note.note for note in collected.notes.notes],
        "contents": {key: _content(collected, row) for key, row in collected.scans.items()},
        "originals": collected.originals,
    }


def _content(collected: Ingested, row: dict) -> str:
    return content_of({name: collected.images[row[name]] for name in FILE_COLUMNS if row.get(name)})


def _tidy(value: object) -> object:
    """Whole numbers without a decimal point: the levels in the data dictionary are written so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_formulas(collected: Ingested, column: str, cells: pd.Series) -> pd.Series:
    """A spreadsheet program runs a text that begins with =, +, - or @: such texts get a ' before them, numbers don't."""
    harmful = cells.map(lambda cell: isinstance(cell, str) and is_formula(cell))
    if not harmful.any():
        return cells
    examples = ", ".join(repr(cell) for cell in sorted(set(cells[harmful]))[:FORMULAS_SHOWN])
    collected.note(
        f"{harmful.sum()} text(s) of {column} begin with =, +, - or @, which spreadsheet programs run as a formula; here they "
        f"have a ' before them: {examples}.",
        Kind.VALUES,
    )
    return cells.where(~harmful, "'" + cells[harmful].astype(str))


def _note_copies(collected: Ingested) -> None:
    """Note images that several participants have: one person's scan under two names would be on both sides of a split."""
    users: dict[str, list[str]] = {}
    for scan_id, row in sorted(collected.scans.items()):
        users.setdefault(row["voxels_sha256"], []).append(scan_id)
    for scans in users.values():
        if len({collected.scans[one]["participant_id"] for one in scans}) > 1:
            shown = ", ".join(scans[:COPIES_SHOWN]) + (" and more" if len(scans) > COPIES_SHOWN else "")
            collected.note(f"{len(scans)} scans have the same image, voxel for voxel: {shown}.", Kind.IMAGES)


def _remove_stale_images(collected: Ingested) -> None:
    """Delete images of an earlier ingest that this one did not write: nothing may lie there that no table names."""
    for pattern in IMAGE_PATTERNS:
        for path in sorted(collected.folder.glob(pattern)):
            if path.relative_to(collected.folder).as_posix() not in collected.images:
                path.unlink()
                for parent in path.parents:
                    if parent == collected.folder or any(parent.iterdir()):
                        break
                    parent.rmdir()


def gzipped(image: nib.Nifti1Image | bytes) -> bytes:
    """A NIfTI image, or the bytes of a .nii, as the bytes of a .nii.gz that depend on its content alone (no name, no time)."""
    content = image if isinstance(image, bytes) else image.to_bytes()
    return gzip.compress(content, compresslevel=GZIP_LEVEL, mtime=0)


def voxels_sha256(image: nib.spatialimages.SpatialImage) -> str:
    """The sha256 of an image's voxels (float32, nearest to RAS) and shape: equal for copies of one image whose headers,
    orientations or compressions differ. An image whose affine is no orientation is taken as it is stored.
    """
    with contextlib.suppress(nib.orientations.OrientationError, np.linalg.LinAlgError):
        image = nib.as_closest_canonical(image)
    voxels = np.ascontiguousarray(np.asarray(image.dataobj, dtype="<f4").reshape(spatial_shape(image.shape, STAGE)))
    return hashlib.sha256(repr(voxels.shape).encode() + voxels.tobytes()).hexdigest()


def check_nifti(content: bytes) -> str:
    """The voxels_sha256 of an image file; ScanExcluded unless ``content`` is a whole NIfTI file, gzipped or not, with a
    three-dimensional image of real numbers.
    """
    return voxels_sha256(nifti_from_bytes(content, STAGE).image)
