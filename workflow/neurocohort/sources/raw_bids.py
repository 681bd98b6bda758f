"""Writing the raw BIDS folder that every source is turned into: images, tables and their descriptions.

An image whose bytes are on disk already is left alone, with its time, so that a second ingest reruns no later stage.
"""

import contextlib
import gzip
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from neurocohort import files
from neurocohort.nifti_files import nifti_from_bytes, spatial_shape
from neurocohort.notes import INGEST, Kind, Notes, write_notes
from neurocohort.sources.columns import DESCRIPTIONS, EXCLUSION_COLUMNS, Exclusion, IngestResult, Scan, columns_of
from neurocohort.sources.data_dictionary import Entries, Entry
from neurocohort.sources.scan_batches import content_of
from neurocohort.structures import TISSUES
from neurocohort.text import few
from neurocohort.user_files import harmless, is_formula
from neurocohort.version import BIDS_VERSION

STAGE = INGEST
# On a 1 mm head with its noise level 3 leaves 10.1 MB in 0.6 s, level 6 9.9 MB in 1.7 s, level 9 9.8 MB in 13 s.
GZIP_LEVEL = 3
IMAGE_PATTERNS = (
    "sub-*/ses-*/anat/sub-*.nii.gz",
    "sub-*/ses-*/dwi/sub-*",
    "derivatives/*/sub-*/ses-*/anat/sub-*.nii.gz",
)
FORMULAS_SHOWN = 3
OWN_TABLES = ("scans", "exclusions", "inputs", "batches", "notes")  # that BIDS doesn't know


@dataclass
class Ingested:
    """What an ingest collects before it writes the tables.

    Attributes:
        folder: The cohort's folder.
        scans: By scan_id.
        notes: They become ``notes.tsv``, and are logged at once.
        images: sha256 of each image in the folder, by its path there.
        originals: sha256 of each of the user's files that was read.
        inputs: Length and sha256 of each archive that was read.
        tables: The user's tables. The tables written here get no permission that one of these lacks.
    """

    folder: Path
    scans: dict[str, Scan] = field(default_factory=dict)
    exclusions: list[Exclusion] = field(default_factory=list)
    notes: Notes = field(default_factory=lambda: Notes(logged=True))
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
        self.images[path] = self.hash_original(original)
        return self.images[path]

    def hash_original(self, path: Path) -> str:
        """Keep the sha256 of a file of the user's that was read; return it."""
        self.originals[path.absolute()] = files.sha256_of(path)
        return self.originals[path.absolute()]

    def drop_images(self, paths: Iterable[str]) -> None:
        """Forget images that belong to no scan. `write_tables` deletes their files."""
        for path in paths:
            self.images.pop(path, None)

    def exclude(self, participant_id: str | None, scan_id: str | None, reason: str) -> None:
        """Add a row to the exclusions table. Line breaks and other unprintable characters are escaped."""
        participant_id, scan_id = (one and harmless(one) for one in (participant_id, scan_id))
        self.exclusions.append(Exclusion(participant_id, scan_id, harmless(reason)))


def write_tables(
    collected: Ingested, variables: Entries, description: Entry, participant_columns: Sequence[str]
) -> IngestResult:
    """Write every table of the raw BIDS folder, and delete the images that no longer belong to it.

    Args:
        collected: The scans, exclusions and notes.
        variables: Entry of the data dictionary for each column after ``dseg_reference_path``.
        description: Content of ``dataset_description.json``, without the version of BIDS.
        participant_columns: Columns of ``participants.tsv``, with the values of the participant's first session.
    """
    scans = _scans_table(collected, variables)
    _note_copies(collected)
    exclusions = pd.DataFrame(
        [(one.participant_id, one.scan_id, STAGE, one.reason) for one in collected.exclusions],
        columns=EXCLUSION_COLUMNS,
    ).sort_values(["participant_id", "scan_id", "reason"], kind="stable")
    participants = scans.drop_duplicates("participant_id")[["participant_id", *participant_columns]]
    dictionary = {name: {"Description": text} for name, text in DESCRIPTIONS.items() if name in scans} | dict(variables)

    folder = collected.folder
    _remove_stale_images(collected)
    with files.private_as(collected.tables):
        files.write_table(folder / "participants.tsv", participants)
        files.write_json(folder / "participants.json", dictionary)
        files.write_table(folder / "exclusions.tsv", exclusions)
        files.write_json(folder / "dataset_description.json", {"BIDSVersion": BIDS_VERSION, **description})
        files.write_text(folder / ".bidsignore", "".join(f"/{name}.tsv\n" for name in OWN_TABLES))
        write_notes(folder / "notes.tsv", collected.notes.notes)
        files.write_table(folder / "scans.tsv", scans)  # last: if it is there, the others are
    return IngestResult(
        len(scans),
        len(participants),
        len(exclusions),
        [note.note for note in collected.notes.notes],
        {scan_id: _content(collected, scan) for scan_id, scan in collected.scans.items()},
        collected.originals,
    )


def describe_labels(
    collected: Ingested,
    derivatives: str,
    name: str,
    generated_by: Mapping[str, str],
    structures: Sequence[str] = TISSUES,
) -> None:
    """Write the description and the label table of the BIDS derivative with label maps, the folder ``derivatives``."""
    description = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [generated_by],
    }
    files.write_json(collected.folder / derivatives / "dataset_description.json", description)
    table = pd.DataFrame({"index": range(1, len(structures) + 1), "name": structures})
    files.write_table(collected.folder / derivatives / "dseg.tsv", table)


def _scans_table(collected: Ingested, variables: Entries) -> pd.DataFrame:
    """``scans.tsv``: a column for extra modalities only if a scan has one."""
    rows = {scan_id: scan.row for scan_id, scan in sorted(collected.scans.items())}
    given = set().union(*rows.values())
    own = columns_of(given)
    columns = [*own, *(name for name in variables if name not in own)]
    cells = [[_tidy(row.get(name)) for name in columns] for row in rows.values()]
    table = pd.DataFrame(cells, columns=columns, dtype=object)
    return table.apply(lambda column: _without_formulas(collected, column))


def _content(collected: Ingested, scan: Scan) -> str:
    return content_of({column: collected.images[path] for column, path in scan.paths.items()})


def _tidy(value: object) -> object:
    """Whole numbers without a decimal point, as the data dictionary writes the levels."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_formulas(collected: Ingested, cells: pd.Series) -> pd.Series:
    """Put ' before texts that begin with =, +, - or @, which a spreadsheet program would run; numbers stay."""
    harmful = cells.map(lambda cell: isinstance(cell, str) and is_formula(cell))
    if not harmful.any():
        return cells
    examples = ", ".join(repr(cell) for cell in sorted(set(cells[harmful]))[:FORMULAS_SHOWN])
    collected.notes.add(
        Kind.VALUES,
        f"{harmful.sum()} text(s) of {cells.name} begin with =, +, - or @, which spreadsheet programs run as a formula; here "
        f"they have a ' before them: {examples}.",
    )
    return cells.where(~harmful, "'" + cells[harmful].astype(str))


def _note_copies(collected: Ingested) -> None:
    """Note images that several participants have: one person under two names could be on both sides of a split."""
    users: dict[str, list[Scan]] = {}
    for _, scan in sorted(collected.scans.items()):
        users.setdefault(scan.t1w.voxels_sha256, []).append(scan)
    for scans in users.values():
        if len({scan.participant_id for scan in scans}) > 1:
            names = few(scan.scan_id for scan in scans)
            collected.notes.add(Kind.IMAGES, f"{len(scans)} scans have the same image, voxel for voxel: {names}.")


def _remove_stale_images(collected: Ingested) -> None:
    """Delete images of an earlier ingest that this one did not write, so that every image is in the tables."""
    for pattern in IMAGE_PATTERNS:
        for path in sorted(collected.folder.glob(pattern)):
            if path.relative_to(collected.folder).as_posix() not in collected.images:
                path.unlink()
                for parent in path.parents:
                    if parent == collected.folder or any(parent.iterdir()):
                        break
                    parent.rmdir()


def gzipped(image: nib.Nifti1Image | bytes) -> bytes:
    """Compress a NIfTI image or the bytes of a .nii. The result depends only on the content (no file name, no time)."""
    content = image if isinstance(image, bytes) else image.to_bytes()
    return gzip.compress(content, compresslevel=GZIP_LEVEL, mtime=0)


def voxels_sha256(image: nib.spatialimages.SpatialImage) -> str:
    """The sha256 of an image's voxels (float32, nearest to RAS) and shape.

    It is equal for copies of one image with other headers, orientations or compressions. The voxels are taken as stored if the
    affine is no orientation.
    """
    with contextlib.suppress(nib.orientations.OrientationError, np.linalg.LinAlgError):
        image = nib.as_closest_canonical(image)
    voxels = np.ascontiguousarray(np.asarray(image.dataobj, dtype="<f4").reshape(spatial_shape(image.shape, STAGE)))
    return hashlib.sha256(repr(voxels.shape).encode() + voxels.tobytes()).hexdigest()


def check_nifti(content: bytes) -> str:
    """The voxels_sha256 of an image file, gzipped or not.

    Raises:
        ScanExcluded: If ``content`` isn't a whole NIfTI file with a three-dimensional image of real numbers.
    """
    return voxels_sha256(nifti_from_bytes(content, STAGE).image)
