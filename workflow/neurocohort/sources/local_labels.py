"""Reference segmentations of a user's own scans: label maps on the very grid of their image, 1 CSF, 2 GM, 3 WM, 0 elsewhere.

They become a BIDS derivative in the cohort's folder. What is no such map is refused with the reason: other programs number
the tissues otherwise, and a network would learn them without a complaint.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from neurocohort import files
from neurocohort.errors import ScanExcluded
from neurocohort.nifti_files import spatial_shape
from neurocohort.notes import Kind
from neurocohort.sources import raw_bids
from neurocohort.version import BIDS_VERSION

DERIVATIVES = "derivatives/segmentations"
TISSUES = {1: "CSF", 2: "GM", 3: "WM"}
LARGEST_OFFSET = 0.1  # of a voxel: programs that write the same grid round its affine differently
NAMED_VALUES = 6


def check_labels(labels_path: Path, image_path: Path) -> None:
    """Raise ScanExcluded unless the label map fits its T1-weighted image: both are NIfTI files that can be read.

    Shape and affine are the image's (no corner further off than a tenth of a voxel), the values are 0, 1, 2 and 3, and the
    image is darkest in 1 (CSF) and brightest in 3 (WM), which tells tissues that are numbered otherwise, as fMRIPrep's are.
    """
    labels, image = nib.load(labels_path), nib.load(image_path)
    shape, expected = (spatial_shape(one.shape, raw_bids.STAGE) for one in (labels, image))
    if shape != expected:
        raise _excluded(f"it has {_by(shape)} voxels, and its image {_by(expected)}; expected the image's grid.")
    offset = _largest_offset(labels.affine, image.affine, shape)
    if not offset <= LARGEST_OFFSET:
        raise _excluded(
            f"its affine puts voxels up to {offset:.3g} voxels from where the image's has them; expected the image's affine."
        )
    values = np.asarray(labels.dataobj).reshape(shape)
    found = np.unique(values)
    if {*found.tolist()} != {0, *TISSUES}:
        shown = ", ".join(f"{value:g}" for value in found[:NAMED_VALUES])
        shown += f" and {len(found) - NAMED_VALUES} more" if len(found) > NAMED_VALUES else ""
        raise _excluded(f"it holds the values {shown}; expected 0, 1 (CSF), 2 (GM) and 3 (WM), each of them.")
    intensities = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    medians = [float(np.median(intensities[values == tissue])) for tissue in TISSUES]
    if not medians[0] < medians[1] < medians[2]:
        told = ", ".join(f"{median:.4g} in {tissue}" for tissue, median in zip(TISSUES, medians, strict=True))
        raise _excluded(
            f"the image's median is {told}, and a T1-weighted brain is darkest in CSF (1) and brightest in WM (3); number the "
            "tissues so."
        )


def describe_labels(collected: raw_bids.Ingested, source: Path) -> None:
    """Write what explains the label maps that were taken, and note how many scans have one; nothing where none was."""
    labelled = sum("dseg_path" in row for row in collected.scans.values())
    if not labelled:
        return
    folder = collected.folder / DERIVATIVES
    description = {
        "Name": f"Reference segmentations of {source.resolve().name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "unknown", "Description": "They came with the scans"}],
    }
    files.write_json(folder / "dataset_description.json", description)
    files.write_table(folder / "dseg.tsv", pd.DataFrame({"index": TISSUES.keys(), "name": TISSUES.values()}))
    if labelled < len(collected.scans):
        collected.note(
            f"{labelled} of the {len(collected.scans)} scans have a reference segmentation.", Kind.LABEL_MAPS
        )


def _largest_offset(affine: np.ndarray, expected: np.ndarray, shape: tuple[int, int, int]) -> float:
    """The largest distance, over the grid's corners, between where two affines put a voxel; in voxels of ``expected``."""
    corners = np.stack(np.meshgrid(*((0, size - 1) for size in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    away = nib.affines.apply_affine(affine, corners) - nib.affines.apply_affine(expected, corners)
    spacing_mm = np.linalg.norm(expected[:3, :3], axis=0).min()
    return float(np.linalg.norm(away, axis=1).max() / spacing_mm)


def _excluded(reason: str) -> ScanExcluded:
    return ScanExcluded(raw_bids.STAGE, reason)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
