"""Read scans of any orientation and number type, NIfTI or Analyze, as float32 volumes, and write NIfTI images.

A scan that can't be used is refused here, with the reason that the exclusions table shows.
"""

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from neurocohort.errors import ScanExcluded
from neurocohort.imaging.intensity_scale import to_common_scale
from neurocohort.imaging.volume import Volume
from neurocohort.nifti_files import bytes_of_voxels, read_nifti
from neurocohort.user_files import UnusableFile, open_regular

SPACING_RANGE_MM = (0.3, 7.0)  # clinical head scans aren't finer; coarser ones don't show the cortex
ANY_SPACING_RANGE_MM = (0.05, 20.0)  # of images of any part of the body
MINIMUM_INDEPENDENCE = 0.05  # volume spanned by the unit vectors along the axes; 1 if they are orthogonal
MINIMUM_EXTENT_MM = 80.0  # a head is about 200 mm long
MINIMUM_DISTINCT_VALUES = 16
NIFTI_SUFFIXES = (".nii", ".nii.gz")


def read_scan(path: Path | str) -> Volume:
    """Read a scan as float32 on the common intensity scale, where air is 0 (see intensity_scale.py).

    Raises:
        ScanExcluded: If the file can't be read or is truncated, or has a wrong dimension, an impossible affine, voxels that are
            not finite, or no content.
    """
    data, affine = _load(Path(path))
    spacing = _checked_spacing(affine, SPACING_RANGE_MM)
    if (np.array(data.shape) * spacing < MINIMUM_EXTENT_MM).any():
        extent = " x ".join(f"{value:.0f}" for value in np.array(data.shape) * spacing)
        raise ScanExcluded("read", f"the field of view is {extent} mm, too small for a head")
    _check_finite(data)
    data = to_common_scale(data, spacing)
    _check_content(data)
    return Volume(data, affine)


def read_whole_image(path: Path | str) -> Volume:
    """Read an image of any part of the body as `read_scan` does, with wider limits of its spacing and none of its extent."""
    data, affine = _load(Path(path))
    spacing = _checked_spacing(affine, ANY_SPACING_RANGE_MM)
    _check_finite(data)
    data = to_common_scale(data, spacing)
    _check_content(data)
    return Volume(data, affine)


def read_own_units(path: Path | str) -> Volume:
    """Read an image of any part of the body, float32, in the units of its file, such as Hounsfield units."""
    data, affine = _load(Path(path))
    _checked_spacing(affine, ANY_SPACING_RANGE_MM)
    _check_finite(data)
    _check_content(data)
    return Volume(data, affine)


def read_series(path: Path | str) -> Volume:
    """Read a series of volumes of a head, (X, Y, Z, volumes) float32, in the units of its file.

    Raises:
        ScanExcluded: If the file can't be read, has another number of dimensions, an impossible affine, or voxels that are not
            finite.
    """
    try:
        image = read_nifti(Path(path), "read", series=True).image
        data = np.ascontiguousarray(np.asarray(image.dataobj, dtype=np.float32))
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError) as error:
        raise ScanExcluded("read", f"{Path(path).name} can't be read: {error}") from error
    affine = np.asarray(image.affine, dtype=np.float64)
    _checked_spacing(affine, SPACING_RANGE_MM)
    _check_finite(data)
    return Volume(data, affine)


def _checked_spacing(affine: np.ndarray, limits_mm: tuple[float, float]) -> np.ndarray:
    """The spacing in mm, (3,); raises ScanExcluded where it is outside of the limits, or where the affine can't be inverted."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = limits_mm
    independence = abs(np.linalg.det(affine[:3, :3])) / max(float(np.prod(spacing)), 1e-30)
    if not np.isfinite(affine).all() or independence < MINIMUM_INDEPENDENCE:
        raise ScanExcluded("read", "the affine in the header is not finite or can't be inverted")
    if (spacing < low).any() or (spacing > high).any():
        found = " x ".join(f"{value:.3g}" for value in spacing)
        raise ScanExcluded("read", f"the voxel spacing is {found} mm, expected {low:g} to {high:g} mm along each axis")
    return spacing


def _check_finite(data: np.ndarray) -> None:
    unusable = int(np.count_nonzero(~np.isfinite(data)))
    if unusable:
        raise ScanExcluded("read", f"{unusable} voxels are not finite (NaN, infinite, or beyond 32-bit numbers)")


def _check_content(data: np.ndarray) -> None:
    if len(np.unique(data[:: max(1, data.shape[0] // 32)])) < MINIMUM_DISTINCT_VALUES:
        raise ScanExcluded("read", "the image is empty or constant")


def read_labels(path: Path | str) -> Volume:
    """Read a label map as uint8.

    Raises:
        ScanExcluded: If it can't be read, or has values other than 0 to 255.
    """
    data, affine = _load(Path(path))
    labels = np.rint(data)
    if labels.min() < 0 or labels.max() > 255:
        raise ScanExcluded("read", f"{Path(path).name} is not a label map with values from 0 to 255")
    return Volume(labels.astype(np.uint8), affine)


def write_image(path: Path, data: np.ndarray, affine: np.ndarray, *, slope: float | None = None) -> None:
    """Write a NIfTI file; equal data give equal bytes.

    Args:
        path: The file, ``.nii.gz``.
        data: The voxels.
        affine: 4 x 4, voxel index to RAS mm.
        slope: Readers multiply the stored numbers by it.
    """
    image = nib.Nifti1Image(
        np.asfortranarray(data), affine
    )  # in the file's order; nibabel would reorder slice by slice
    image.set_sform(affine, code=4 if "_space-MNI" in path.name else 1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    nib.openers.Opener.default_compresslevel = 3
    nib.save(image, path)


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        image = read_nifti(path, "read").image if path.name.endswith(NIFTI_SUFFIXES) else _load_pair(path)
        shape = tuple(n for n in image.shape if n != 1) if len(image.shape) > 3 else image.shape
        if len(shape) != 3 or min(shape) < 2:
            raise ScanExcluded("read", f"the image has the shape {image.shape}, expected three dimensions")
        # The file is in Fortran order; all stages need the order of numpy and of the masks.
        data = np.ascontiguousarray(np.asarray(image.dataobj, dtype=np.float32).reshape(shape))
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ScanExcluded("read", f"the file can't be read: {first_line.replace(str(path), path.name)}") from error
    return data, np.asarray(image.affine, dtype=np.float64)


def _load_pair(path: Path) -> nib.spatialimages.SpatialImage:
    """Open an image that isn't a single NIfTI file, such as an Analyze pair, without reading its voxels."""
    try:
        open_regular(path).close()
    except UnusableFile as fault:
        raise ScanExcluded("read", f"{path.name} {fault}") from fault
    image = nib.load(path)
    if not isinstance(image, nib.spatialimages.SpatialImage):
        raise ImageFileError(f"{path.name} isn't an image")
    bytes_of_voxels(image.shape, image.get_data_dtype(), "read")
    return image
