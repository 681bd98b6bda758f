"""A pack: scans on the study's grid in one memory-mapped array of eight bits a voxel, and their label maps in another."""

from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.errors import InputError
from neurocohort.files import read_json, sha256_of, written_aside
from neurocohort.imaging.derivatives import qc_path, scan_folder
from neurocohort.imaging.reading import read_labels, read_scan

LEVELS = 255  # preprocessing leaves 0..1; eight bits are finer than the noise of any scan


def pack_scans(
    scan_ids: list[str], preproc: Path, images: Path, labels: Path, modalities: tuple[str, ...] = ("T1w",)
) -> pd.DataFrame:
    """Write ``images`` (scans, channels, X, Y, Z) and ``labels`` (scans, X, Y, Z; 0 where a scan has none), both uint8
    ``.npy``, in the order of ``scan_ids``. The channels are ``modalities``, in their order. Without scans both are empty.

    Returns the index: row, scan_id, has_labels. Each file is held against the sha256 that preprocessing recorded; raises
    InputError where one is missing or has changed since.
    """
    rows = []
    with written_aside(images) as images_aside, written_aside(labels) as labels_aside:
        packed = packed_labels = None
        for row, scan_id in enumerate(scan_ids):
            record = read_json(qc_path(preproc, scan_id))
            for channel, modality in enumerate(modalities):
                data = read_scan(_checked(scan_folder(preproc, scan_id), record, f"preproc_{modality}")).data
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
                packed_labels[row] = read_labels(_checked(scan_folder(preproc, scan_id), record, "dseg")).data
            rows.append({"row": row, "scan_id": scan_id, "has_labels": int(has_labels)})
        if packed is None:
            for aside, shape in ((images_aside, (0, len(modalities), 1, 1, 1)), (labels_aside, (0, 1, 1, 1))):
                with open(aside, "wb") as stream:
                    np.save(stream, np.zeros(shape, dtype=np.uint8))
        else:
            packed.flush()
            packed_labels.flush()
    return pd.DataFrame(rows, columns=["row", "scan_id", "has_labels"])


def _checked(folder: Path, record: dict, name: str) -> Path:
    entry = record["outputs"][name]
    path = folder / entry["file"]
    if not path.is_file() or sha256_of(path) != entry["sha256"]:
        raise InputError(
            f"{path} is missing or was changed after preprocessing; delete {folder} and run again to have it made anew."
        )
    return path
