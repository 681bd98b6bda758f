"""The predicted images of a translation as NIfTI files on the study's grid, and slices of a few of them for the report."""

from pathlib import Path

import nibabel as nib
import numpy as np

from neurocohort.files import read_json, written_aside
from neurocohort.imaging.derivatives import qc_path, scan_folder
from neurocohort.imaging.reading import write_image

SHOWN = 3  # participants of the mosaic
REFERENCE = "preproc_T1w"  # whose grid is the study's


def write_translated(results: Path, folder: Path, cohort: str, scan_id: str, image: np.ndarray, channel: str) -> Path:
    """Write one predicted image, (X, Y, Z) from 0 to 1, into the cohort's subfolder of ``folder``; return its path.

    The file has the name and the affine of the preprocessed T1-weighted image of the scan, with ``desc-translated`` and the
    suffix of the predicted ``channel``.
    """
    preproc = results / cohort / "preproc"
    output = read_json(qc_path(preproc, scan_id))["outputs"][REFERENCE]["file"]
    affine = np.asarray(nib.Nifti1Image.from_filename(scan_folder(preproc, scan_id) / output).affine)
    name = Path(output).name.replace("desc-preproc", "desc-translated").replace("_T1w.", f"_{channel}.")
    target = folder / cohort / name
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, image.astype(np.float32), affine)
    return target


def middle_slices(images: list[np.ndarray], inside: np.ndarray) -> np.ndarray:
    """The axial slice in the middle of the brain of each of the ``images`` (X, Y, Z), (images, X, Y) uint8."""
    present = np.flatnonzero(inside.any(axis=(0, 1)))
    middle = int(present[len(present) // 2])
    return np.stack([np.rint(255 * np.clip(image[:, :, middle], 0, 1)).astype(np.uint8) for image in images])


def write_slices(path: Path, slices: list[np.ndarray], names: list[str]) -> None:
    """Write the slices of several scans, (scans, images, X, Y), and the scans' ``names``."""
    with written_aside(path) as aside, open(aside, "wb") as stream:
        np.savez_compressed(stream, slices=np.stack(slices), names=np.array(names))
