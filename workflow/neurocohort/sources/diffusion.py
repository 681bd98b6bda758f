"""Diffusion-weighted images in the raw BIDS layout: a session's ``dwi`` folder with one series and its two tables."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from neurocohort.errors import ScanExcluded
from neurocohort.nifti_files import read_nifti
from neurocohort.sources.columns import DIFFUSION_COLUMNS, DiffusionFiles
from neurocohort.sources.gradients import read_gradients
from neurocohort.sources.raw_bids import STAGE, Ingested, gzipped

AFFINE_TOLERANCE = 1e-3  # mm: the volumes of a series have one grid


def targets_of(participant_id: str, session_id: str, scan_id: str) -> dict[str, str]:
    """The paths of a scan's series and its tables in the cohort's folder, by column of ``scans.tsv``."""
    stem = f"{participant_id}/{session_id}/dwi/{scan_id}_dwi"
    return {column: f"{stem}.{'nii.gz' if kind == 'dwi' else kind}" for kind, column in DIFFUSION_COLUMNS.items()}


def take_diffusion(
    collected: Ingested, participant_id: str, session_id: str, scan_id: str, original: DiffusionFiles
) -> dict[str, str]:
    """Check a user's series and its tables, and bring them into the cohort's folder.

    Returns:
        Their paths, by column of ``scans.tsv``.

    Raises:
        ScanExcluded: If a file can't be read, or no tensor can be fitted.
    """
    found = read_nifti(original.dwi, STAGE, series=True)
    read_gradients(original.bval, original.bvec, found.image.shape[3], STAGE)
    targets = targets_of(participant_id, session_id, scan_id)
    image, *tables = targets.values()
    if found.gzipped:
        collected.link_image(image, original.dwi.absolute())
    else:
        collected.hash_original(original.dwi)
        collected.write_image(image, gzipped(found.content), original.dwi)
    for target, table in zip(tables, original[1:], strict=True):
        collected.hash_original(table)
        collected.write_image(target, table.read_bytes(), table)
    return targets


def joined(volumes: Sequence[Path]) -> bytes:
    """Join the volumes of a series, each a NIfTI file, to one gzipped file. Stored numbers stay if all have one scaling.

    Raises:
        ScanExcluded: If a volume can't be read, or the volumes have different grids.
    """
    images = [read_nifti(path, STAGE).image for path in volumes]
    first = images[0]
    for path, image in zip(volumes, images, strict=True):
        if image.shape != first.shape or not np.allclose(image.affine, first.affine, atol=AFFINE_TOLERANCE):
            raise ScanExcluded(STAGE, f"{path.name} has another grid than the first volume of the series.")
    proxies: list[Any] = [image.dataobj for image in images]
    scalings = {(one.slope, one.inter, one.dtype) for one in proxies}
    kept = len(scalings) == 1
    data = np.stack([one.get_unscaled() if kept else np.asarray(one, dtype=np.float32) for one in proxies], axis=-1)
    series = nib.Nifti1Image(data, first.affine)
    with contextlib.suppress(nib.spatialimages.HeaderDataError):
        series.header.set_xyzt_units(*first.header.get_xyzt_units())
    for code, setter in (
        (first.header["sform_code"], series.set_sform),
        (first.header["qform_code"], series.set_qform),
    ):
        setter(first.affine, int(code))
    content = bytearray(series.to_bytes())
    slope, intercept, _ = next(iter(scalings))
    if kept and (slope, intercept) != (1, 0):  # nibabel would divide the numbers by the slope
        header = nib.Nifti1Header(bytes(content[:348]), check=False)
        header["scl_slope"], header["scl_inter"] = slope, intercept
        content[:348] = header.binaryblock
    return gzipped(bytes(content))
