"""A pack: scans on the study's grid in one memory-mapped array of eight bits a voxel, and their label maps in another."""

import gzip
import hashlib
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
import pandas as pd

from neurocohort.dataset.pack_index import COLUMNS, index_table, row_sha256
from neurocohort.errors import InputError
from neurocohort.files import keep_private, read_json, written_aside
from neurocohort.imaging.derivatives import qc_path, scan_folder

LEVELS = 255  # preprocessing leaves 0..1; eight bits are finer than the noise of any scan


def pack_scans(
    scan_ids: list[str], preproc: Path, images: Path, labels: Path, modalities: tuple[str, ...] = ("T1w",)
) -> pd.DataFrame:
    """Write ``images`` (scans, channels, X, Y, Z) and ``labels`` (scans, X, Y, Z; 0 where a scan has none), both uint8
    ``.npy``, in the order of ``scan_ids``. The channels are ``modalities``, in their order. Without scans both are empty.

    Neither has a permission for group and others that a file in it lacks.

    Returns the index (`pack_index`). Each file is read once, and held against the sha256 that preprocessing recorded; raises
    InputError where one is missing or has changed since.
    """
    rows = []
    with (
        written_aside(images) as images_aside,
        written_aside(labels) as labels_aside,
        open(images_aside, "wb") as packed,
        open(labels_aside, "wb") as packed_labels,
    ):
        for row, scan_id in enumerate(scan_ids):
            folder, record = scan_folder(preproc, scan_id), read_json(qc_path(preproc, scan_id))
            channels = np.stack([_levels(_read(folder, record, f"preproc_{name}"), LEVELS) for name in modalities])
            has_labels = "dseg" in record["outputs"]
            label_map = _levels(_read(folder, record, "dseg")) if has_labels else np.zeros_like(channels[0])
            for name in (*(f"preproc_{name}" for name in modalities), *(["dseg"] if has_labels else [])):
                for aside in (images_aside, labels_aside):  # before its voxels are in them
                    keep_private(aside, folder / record["outputs"][name]["file"])
            if row == 0:
                _begin(packed, (len(scan_ids), *channels.shape))
                _begin(packed_labels, (len(scan_ids), *label_map.shape))
            packed.write(channels.tobytes())
            packed_labels.write(label_map.tobytes())
            hashes = row_sha256(scan_id, channels), row_sha256(scan_id, label_map)
            rows.append(dict(zip(COLUMNS, (row, scan_id, int(has_labels), *hashes), strict=True)))
        if not rows:
            _begin(packed, (0, len(modalities), 1, 1, 1))
            _begin(packed_labels, (0, 1, 1, 1))
    return index_table(rows)


def _begin(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the head of an ``.npy`` file. Its rows are written after it, not into a map of the file: on a full disk a map ends
    the process with a bus error."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def _levels(data: np.ndarray, scale: int = 1) -> np.ndarray:
    return np.rint(data * scale).astype(np.uint8)


def _read(folder: Path, record: dict, name: str) -> np.ndarray:
    """The voxels of one of a scan's files, (X, Y, Z) float32."""
    entry = record["outputs"][name]
    path = folder / entry["file"]
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise InputError(
            f"{path} is missing or was changed after preprocessing; delete {folder} and the tables in the cohort's "
            "preproc_batches, and run again."
        )
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj, dtype=np.float32)
