"""The columns of ``scans.tsv`` and of a user's tables, and the records that every ingest makes.

This module imports little, because the configuration is checked with it at the start of every Snakemake process.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

MODALITY_COLUMNS = {"T1w": "path", "T2w": "path_T2w", "PDw": "path_PDw", "FLAIR": "path_FLAIR"}  # by BIDS suffix
DIFFUSION_MAPS = ("FA", "MD")  # modalities that are computed from a session's diffusion-weighted images
LABELS = "dseg"  # BIDS suffix of a label map
PATH_COLUMNS = MODALITY_COLUMNS | {LABELS: f"path_{LABELS}"}  # the columns of a user's table that name a file
# The diffusion-weighted images of a session, and the b-value and direction of each, by BIDS suffix or ending.
DIFFUSION_COLUMNS = {"dwi": "dwi_path", "bval": "dwi_bval_path", "bvec": "dwi_bvec_path"}
FILE_COLUMNS = (
    *MODALITY_COLUMNS.values(),
    *DIFFUSION_COLUMNS.values(),
    "dseg_path",
    "dseg_reference_path",
)  # of scans.tsv
KNOWN_VARIABLES = ("age", "sex", "site", "scanner")  # recognised in a user's table, in any capitals
# The columns of scans.tsv before age, sex and other variables, with their entries of the data dictionary.
DESCRIPTIONS = {
    "participant_id": "Participant",
    "session_id": "Session: one visit of a participant",
    "scan_id": "Scan: participant and session together",
    "site": "Where the scan was acquired",
    "scanner": "Vendor and field strength of the scanner",
    "path": "The T1-weighted image, relative to this folder",
    "image_sha256": "sha256 of the image file in this folder",
    "voxels_sha256": "sha256 of the image's voxels and shape, independent of its header, orientation and compression",
    "path_T2w": "The session's T2-weighted image, relative to this folder",
    "path_PDw": "The session's proton-density-weighted image, relative to this folder",
    "path_FLAIR": "The session's FLAIR image, relative to this folder",
    "dwi_path": "The session's diffusion-weighted images as one file, relative to this folder",
    "dwi_bval_path": "Their b-values in s/mm2, relative to this folder",
    "dwi_bvec_path": "Their gradient directions, relative to this folder",
    "dseg_path": "Tissue labels that came with the cohort, relative to this folder",
    "dseg_reference_path": "The image on whose grid the tissue labels are drawn",
}
SCAN_COLUMNS = (*DESCRIPTIONS, "age", "sex")
EXCLUSION_COLUMNS = ("participant_id", "scan_id", "stage", "reason")
# A user's column with one of these names is renamed. Later tables, such as split.tsv, have the last ones.
OWN_COLUMNS = tuple(name for name in DESCRIPTIONS if name not in KNOWN_VARIABLES)
OWN_COLUMNS += (LABELS, "row", "has_labels", "part", "stratum", "fold", "target", "cohort", "index")


def columns_of(given: Collection[str]) -> list[str]:
    """The columns of a ``scans.tsv`` whose scans have values in the columns ``given``: those of other images only if needed."""
    return [name for name in SCAN_COLUMNS if name in given or not name.startswith(("path_", "dwi_"))]


class DiffusionFiles(NamedTuple):
    """Diffusion-weighted images, (X, Y, Z, volumes), with the files of their b-values and directions in FSL's format."""

    dwi: Path
    bval: Path
    bvec: Path


class Image(NamedTuple):
    """An image in the cohort's folder: its path there, and sha256 of the file and of its voxels."""

    path: str
    sha256: str
    voxels_sha256: str


@dataclass(frozen=True)
class Scan:
    """One scan: a row of ``scans.tsv``.

    ``files``: paths of its other images, by column of ``scans.tsv``. ``variables``: age, sex, site and so on; None if missing.
    """

    participant_id: str
    session_id: str
    scan_id: str
    t1w: Image
    files: dict[str, str] = field(default_factory=dict)
    variables: dict[str, object] = field(default_factory=dict)

    @property
    def paths(self) -> dict[str, str]:
        """All images of the scan, by column of ``scans.tsv``."""
        return {"path": self.t1w.path} | self.files

    @property
    def row(self) -> dict[str, object]:
        """Its cells, by column."""
        ids = {"participant_id": self.participant_id, "session_id": self.session_id, "scan_id": self.scan_id}
        hashes = {"image_sha256": self.t1w.sha256, "voxels_sha256": self.t1w.voxels_sha256}
        return ids | hashes | self.paths | self.variables


class Exclusion(NamedTuple):
    """Why a scan is left out: a row of ``exclusions.tsv``. ``scan_id`` is None for all scans of a participant."""

    participant_id: str | None
    scan_id: str | None
    reason: str


@dataclass(frozen=True)
class IngestResult:
    """What an ingest wrote.

    ``scans``, ``participants``, ``excluded``: numbers of rows. ``contents``: by scan_id, the hash of all files of the scan that
    preprocessing reads. ``originals``: sha256 of each of the user's files that was read.
    """

    scans: int
    participants: int
    excluded: int
    notes: list[str]
    contents: dict[str, str]
    originals: dict[Path, str]
