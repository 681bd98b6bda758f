"""Packs: the scans on the study's grid in one memory-mapped array with eight bits per voxel, and their label maps in another."""

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
import pandas as pd

from neurocohort.dataset.pack_index import index_table, row_sha256
from neurocohort.errors import InputError
from neurocohort.files import keep_private, written_aside
from neurocohort.imaging.derivatives import MODULATED_GM, MODULATED_RANGE, channel_output, qc_path, scan_folder
from neurocohort.imaging.scan_record import ScanRecord, read_record

LEVELS = 255  # preprocessed intensities are 0 to 1; eight bits are finer than the noise of any scan


def pack_scans(
    scan_ids: list[str], preproc: Path, images: Path, labels: Path, modalities: tuple[str, ...] = ("T1w",)
) -> pd.DataFrame:
    """Write a pack's arrays, uint8 ``.npy``, in the order of ``scan_ids``. Without scans both are empty.

    Each file is read once, and compared with the sha256 of the scan's record. Group and others get no permission for the arrays
    that they lack for a file.

    Args:
        scan_ids: The scans.
        preproc: The folder of the preprocessed scans.
        images: The array of images, (scans, channels, X, Y, Z).
        labels: The array of label maps, (scans, X, Y, Z); 0 for scans without labels.
        modalities: The channels: modalities, CSF, GM and WM for tissue maps, and GM_modulated, of which values above
            MODULATED_RANGE are clipped.

    Returns:
        The index (`pack_index`).

    Raises:
        InputError: If a file is missing or has changed since preprocessing.
    """
    rows, channel_names = [], [channel_output(name) for name in modalities]
    with (
        written_aside(images) as images_aside,
        written_aside(labels) as labels_aside,
        open(images_aside, "wb") as packed,
        open(labels_aside, "wb") as packed_labels,
    ):
        for row, scan_id in enumerate(scan_ids):
            folder, record = scan_folder(preproc, scan_id), read_record(qc_path(preproc, scan_id))
            channels = packed_channels(folder, record, modalities)
            has_labels = "dseg" in record.outputs
            label_map = packed_levels(_read(folder, record, "dseg")) if has_labels else np.zeros_like(channels[0])
            for name in (*channel_names, *(["dseg"] if has_labels else [])):
                for aside in (images_aside, labels_aside):  # before its voxels are written
                    keep_private(aside, folder / record.outputs[name].file)
            if row == 0:
                _begin(packed, (len(scan_ids), *channels.shape))
                _begin(packed_labels, (len(scan_ids), *label_map.shape))
            packed.write(channels.tobytes())
            packed_labels.write(label_map.tobytes())
            hashes = row_sha256(scan_id, channels), row_sha256(scan_id, label_map)
            rows.append((row, scan_id, int(has_labels), *hashes))
        if not rows:
            _begin(packed, (0, len(modalities), 1, 1, 1))
            _begin(packed_labels, (0, 1, 1, 1))
    return index_table(rows)


def packed_channels(folder: Path, record: ScanRecord, modalities: Sequence[str]) -> np.ndarray:
    """A scan's channels as the packs have them, (channels, X, Y, Z) uint8.

    Raises:
        InputError: If a file is missing or has changed since preprocessing.
    """
    return np.stack(
        [packed_levels(_read(folder, record, channel_output(name)), channel_scale(name)) for name in modalities]
    )


def _begin(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the header of an ``.npy`` file. Rows are appended: on a full disk a memory map ends the process with a bus error."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def channel_scale(channel: str) -> float:
    """What a channel's values are multiplied by in the packs."""
    return LEVELS / (MODULATED_RANGE if channel == MODULATED_GM else 1)


def packed_levels(data: np.ndarray, scale: float = 1) -> np.ndarray:
    """``data`` times ``scale``, rounded to uint8; larger values than uint8 has are its largest."""
    return np.minimum(np.rint(data * np.float32(scale)), LEVELS).astype(np.uint8)


def _read(folder: Path, record: ScanRecord, name: str) -> np.ndarray:
    """The voxels of one of a scan's files, (X, Y, Z) float32."""
    path = folder / record.outputs[name].file
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != record.outputs[name].sha256:
        raise InputError(
            f"{path} is missing or was changed after preprocessing; delete {folder} and the tables in the cohort's "
            "preproc_batches, and run again."
        )
    return np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(content)).dataobj, dtype=np.float32)
