"""Converting Analyze 7.5 pairs to NIfTI with the orientation in which they are stored.

An Analyze header doesn't state its orientation. nibabel opens every pair as LAS (i to left, j to anterior, k to superior).
OASIS-1's raw and averaged scans are stored as ASL (i to anterior, j to superior, k to left); read as LAS, the head would be
rotated and mirrored.
"""

import struct

import nibabel as nib
import numpy as np
from nibabel.spm2analyze import Spm2AnalyzeHeader

from neurocohort.errors import ScanExcluded
from neurocohort.nifti_files import bytes_of_voxels, spatial_shape
from neurocohort.sources.raw_bids import STAGE

SCANNER, TALAIRACH = 1, 3  # NIfTI's codes for what the coordinates mean


def analyze_to_nifti(header: bytes, data: bytes, stored: str) -> nib.Nifti1Image:
    """Build the NIfTI image of one Analyze pair, with the stored voxels: int16, or uint8 for 8 bits. Scaling is ignored.

    Args:
        header: Content of the .hdr file, in either byte order.
        data: Content of the .img file.
        stored: ``ASL`` (the scanner's axes; the origin is at half the extent, as clinica writes it for OASIS-1) or ``LAS``
            (atlas space; nibabel's affine).

    Raises:
        ScanExcluded: If the pair is unreadable, cut short, not three-dimensional, or not of 8- or 16-bit integers.
    """
    try:
        head = Spm2AnalyzeHeader(header[:348], endianness=_byte_order(header), check=False)
        kind = head.get_data_dtype()
        full_shape = head.get_data_shape()
        spacing_mm = np.abs(np.asarray(head.get_zooms()[:3], dtype=float))
        offset = int(head.get_data_offset())
    except ScanExcluded:
        raise
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise ScanExcluded(STAGE, f"The Analyze header can't be read ({error}).") from error
    shape = spatial_shape(full_shape, STAGE)
    if kind.kind not in "iu" or kind.itemsize > 2:
        raise ScanExcluded(STAGE, f"The Analyze image holds {kind.name}; 8- or 16-bit integers are expected.")
    if not (np.isfinite(spacing_mm).all() and (spacing_mm > 0).all()):
        raise ScanExcluded(STAGE, f"The Analyze header gives a voxel size of {spacing_mm.tolist()} mm.")
    if offset < 0:
        raise ScanExcluded(STAGE, f"The Analyze header gives byte {offset} for the start of the voxels.")
    needed = bytes_of_voxels(shape, kind, STAGE)
    if len(data) != offset + needed:
        raise ScanExcluded(STAGE, f"The .img file has {len(data)} bytes, and its header asks for {offset + needed}.")
    voxels = np.frombuffer(data, kind, offset=offset).reshape(shape, order="F")
    voxels = voxels.astype(np.uint8 if kind.itemsize == 1 else np.int16)

    affine = asl_affine(shape, spacing_mm) if stored == "ASL" else head.get_best_affine()
    image = nib.Nifti1Image(voxels, affine)
    code = SCANNER if stored == "ASL" else TALAIRACH
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    return image


def asl_affine(shape: tuple[int, int, int], spacing_mm: np.ndarray) -> np.ndarray:
    """The affine (voxels to RAS mm) of axes to anterior, superior and left, with the origin at half the extent.

    For 256 x 256 x 160 at 1 mm: x = 80 - k, y = i - 128, z = j - 128.
    """
    half_i, half_j, half_k = np.asarray(shape) * spacing_mm / 2
    to_anterior, to_superior, to_left = spacing_mm
    return np.array(
        [
            [0, 0, -to_left, half_k],
            [to_anterior, 0, 0, -half_i],
            [0, to_superior, 0, -half_j],
            [0, 0, 0, 1],
        ],
        dtype=float,
    )


def _byte_order(header: bytes) -> str:
    if len(header) < 348:
        raise ScanExcluded(STAGE, f"The Analyze header has {len(header)} bytes, and 348 are expected.")
    for order in ("<", ">"):  # little-endian, big-endian
        if struct.unpack_from(f"{order}i", header)[0] == 348:
            return order
    raise ScanExcluded(STAGE, "The Analyze header does not begin with its length, 348.")
