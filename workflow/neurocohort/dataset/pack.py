"""A pack: scans on the study's grid in one memory-mapped array of eight bits a voxel, and their label maps in another."""

import gzip
import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from neurocohort.dataset.pack_index import COLUMNS, index_table, row_sha256
from neurocohort.errors import InputError
from neurocohort.files import read_json, written_aside
from neurocohort.imaging.derivatives import qc_path, scan_folder

LEVELS = 255  # preprocessing leaves 0..1; eight bits are finer than the noise of any scan


def pack_scans(
    scan_ids: list[str], preproc: Path, images: Path, labels: Path, modalities: tuple[str, ...] = ("T1w",)
) -> pd.DataFrame:
    """Write ``images`` (scans, channels, X, Y, Z) and ``labels`` (scans, X, Y, Z; 0 where a scan has none), both uint8
    ``.npy``, in the order of ``scan_ids``. The channels are ``modalities``, in their order. Without scans both are empty.

    Returns the index (`pack_index`). Each file is read once, and held against the sha256 that preprocessing recorded; raises
    InputError where one is missing or has changed since.
    """
    rows = []
    with written_aside(images) as images_aside, written_aside(labels) as labels_aside:
        packed = packed_labels = None
        for row, scan_id in enumerate(scan_ids):
            record = read_json(qc_path(preproc, scan_id))
            for channel, modality in enumerate(modalities):
                data = _read(scan_folder(preproc, scan_id), record, f"preproc_{modality}")
                if packed is None:
                    packed, packed_labels = (
                        np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
                        for file, shape in (
                            (images_aside, (len(scan_ids), len(modalities), *data.shape)),
                            (labels_aside, (len(scan_ids), *data.shape)),
                        )
                    )
                packed[row, channel] = np.rint(data * LEVELS)
            has_labels = "dseg" in record["outputs"]
            if has_labels:
                packed_labels[row] = np.rint(_read(scan_folder(preproc, scan_id), record, "dseg"))
            hashes = row_sha256(scan_id, packed[row]), row_sha256(scan_id, packed_labels[row])
            rows.append(dict(zip(COLUMNS, (row, scan_id, int(has_labels), *hashes), strict=True)))
        if packed is None:
            for aside, shape in ((images_aside, (0, len(modalities), 1, 1, 1)), (labels_aside, (0, 1, 1, 1))):
                with open(aside, "wb") as stream:
                    np.save(stream, np.zeros(shape, dtype=np.uint8))
        else:
            packed.flush()
            packed_labels.flush()
    return index_table(rows)


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
