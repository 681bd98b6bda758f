"""Reference segmentations of a user's own scans: label maps on the grid of their image, 1 CSF, 2 GM, 3 WM, 0 elsewhere.

They become a BIDS derivative in the cohort's folder. Other label maps are refused unless the cohort names its structures
(`local_structures`): some programs number the tissues differently, and a network would learn the wrong tissues.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from neurocohort.errors import ScanExcluded
from neurocohort.nifti_files import spatial_shape
from neurocohort.notes import Kind
from neurocohort.sources.raw_bids import STAGE, Ingested, describe_labels
from neurocohort.structures import TISSUES
from neurocohort.text import by, few

DERIVATIVES = "derivatives/segmentations"
NUMBERS = (1, 2, 3)  # of CSF, GM and WM
LARGEST_OFFSET = 0.1  # of a voxel: programs that write the same grid round its affine differently
NAMED_VALUES = 6
OWN_NAMES = " Name other structures with their values under the cohort's `labels`."


def check_labels(labels_path: Path, image_path: Path) -> None:
    """Check that a label map fits its T1-weighted image; both are NIfTI files that can be read.

    Shape and affine must be the image's (no corner more than a tenth of a voxel away), and the values 0, 1, 2 and 3. The image
    must be darkest in 1 (CSF) and brightest in 3 (WM), because other programs, such as fMRIPrep, number the tissues differently.

    Raises:
        ScanExcluded: If one of these doesn't hold.
    """
    labels: Any = nib.load(labels_path)
    image: Any = nib.load(image_path)
    shape = check_grid(labels, image)
    values = np.asarray(labels.dataobj).reshape(shape)
    found = np.unique(values)
    if {*found.tolist()} != {0, *NUMBERS}:
        shown = few((f"{value:g}" for value in found), NAMED_VALUES)
        raise _excluded(
            f"it holds the values {shown}; expected 0, 1 (CSF), 2 (GM) and 3 (WM), each of them.{OWN_NAMES}"
        )
    intensities = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    medians = [float(np.median(intensities[values == tissue])) for tissue in NUMBERS]
    if not medians[0] < medians[1] < medians[2]:
        shown = ", ".join(f"{median:.4g} in {tissue}" for tissue, median in zip(NUMBERS, medians, strict=True))
        raise _excluded(
            f"the image's median is {shown}, and a T1-weighted brain is darkest in CSF (1) and brightest in WM (3); number the "
            "tissues in this order."
        )


def check_grid(labels: Any, image: Any) -> tuple[int, int, int]:
    """Check that two images, as nibabel has them, have the same shape and affine, and return the shape.

    Raises:
        ScanExcluded: If the shapes differ, or a corner is more than a tenth of a voxel away.
    """
    shape, expected = (spatial_shape(one.shape, STAGE) for one in (labels, image))
    if shape != expected:
        raise _excluded(f"it has {by(shape)} voxels, and its image {by(expected)}; expected the image's grid.")
    offset = _largest_offset(labels.affine, image.affine, shape)
    if not offset <= LARGEST_OFFSET:
        raise _excluded(
            f"its affine puts voxels up to {offset:.3g} voxels from where the image's has them; expected the image's affine."
        )
    return shape


def describe_own_labels(collected: Ingested, name: str, structures: Sequence[str] = TISSUES) -> None:
    """Describe the label maps of the cohort ``name``, and note how many scans have one; nothing if there are none."""
    labelled = sum("dseg_path" in scan.files for scan in collected.scans.values())
    if not labelled:
        return
    program = {"Name": "unknown", "Description": "They came with the scans"}
    describe_labels(collected, DERIVATIVES, f"Reference segmentations of {name}", program, structures)
    if labelled < len(collected.scans):
        sentence = f"{labelled} of the {len(collected.scans)} scans have a reference segmentation."
        collected.notes.add(Kind.LABEL_MAPS, sentence)


def _largest_offset(affine: np.ndarray, expected: np.ndarray, shape: tuple[int, int, int]) -> float:
    """The largest distance, over the grid's corners, between where two affines put a voxel; in voxels of ``expected``."""
    corners = np.stack(np.meshgrid(*((0, size - 1) for size in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    away = nib.affines.apply_affine(affine, corners) - nib.affines.apply_affine(expected, corners)
    spacing_mm = np.linalg.norm(expected[:3, :3], axis=0).min()
    return float(np.linalg.norm(away, axis=1).max() / spacing_mm)


def _excluded(reason: str) -> ScanExcluded:
    return ScanExcluded(STAGE, reason)
