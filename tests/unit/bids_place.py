"""A user's BIDS folder for tests of its ingest."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
from neurocohort.files import read_table
from neurocohort.sources.bids import ingest_bids


def nifti(seed=0, shape=(4, 5, 6), kind=np.int16, scaling=None) -> bytes:
    """A .nii whose axes can't be confused: PSR, anisotropic, off centre."""
    voxels = np.random.default_rng(seed).integers(0, 1000, shape).astype(kind)
    affine = np.array([[0, 0, 1.2, -90], [-0.9, 0, 0, 120], [0, 1.1, 0, -70], [0, 0, 0, 1]])
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1)
    if scaling:
        image.header.set_slope_inter(*scaling)
    return image.to_bytes()


def compressed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


class Place:
    """A user's BIDS folder, and what an ingest makes of it."""

    def __init__(self, folder: Path):
        self.source, self.folder = folder / "study", folder / "data" / "mine"

    def put(self, path, content=None):
        """A file of the source: bytes, text, an object for JSON, rows for a table; an image where nothing is given."""
        target = self.source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = nifti(seed=len(list(self.source.rglob("*"))))
            content = compressed(content) if path.endswith(".gz") else content
        if isinstance(content, list):
            content = "".join("\t".join(map(str, row)) + "\n" for row in content)
        if isinstance(content, dict):
            content = json.dumps(content)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return target

    def ingest(self, **options):
        self.result = ingest_bids(self.source, self.folder, **options)
        self.notes = " ".join(self.result.notes)
        self.scans = read_table(self.folder / "scans.tsv").set_index("scan_id")
        self.exclusions = read_table(self.folder / "exclusions.tsv")
        self.dictionary = json.loads((self.folder / "participants.json").read_text())
        return self

    def image(self, scan_id, column="path"):
        return nib.load(self.folder / self.scans.loc[scan_id, column])
