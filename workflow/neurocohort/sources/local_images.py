"""Bringing a user's image into the raw BIDS folder: a .nii.gz is linked, other forms are written as .nii.gz.

Voxels and orientation don't change. DICOM is refused, with the command that converts it.
"""

import os
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from neurocohort.errors import ScanExcluded
from neurocohort.nifti_files import (
    LARGEST_FILE_BYTES,
    NiftiFile,
    bytes_of_voxels,
    nifti_from_bytes,
    read_nifti,
    spatial_shape,
)
from neurocohort.sources.columns import Image
from neurocohort.sources.local_files import IMAGE_SUFFIXES, pair_of
from neurocohort.sources.raw_bids import STAGE, Ingested, gzipped, voxels_sha256
from neurocohort.user_files import UnusableFile, open_regular, read_bytes

HEADER_BYTES = 352  # of a NIfTI-1 file before its voxels
PAIR_HEADER_BYTES = 64 << 10  # a pair's header has 348 bytes, and a NIfTI one may have extensions
MAT_BYTES = 64 << 10  # of an Analyze image's orientation: two matrices
DICOM_OFFSET, DICOM_MARK = 128, b"DICM"
ALIGNED = 2  # NIfTI's code for coordinates that are neither a scanner's nor an atlas'
FILES_LOOKED_AT = 20  # of a folder, in the search for DICOM


class Taken(NamedTuple):
    """An image in the cohort's folder. ``oriented``: whether its file states the orientation of the head."""

    image: Image
    oriented: bool


def take_image(collected: Ingested, target: str, original: Path) -> Taken:
    """Bring a user's image into the cohort's folder.

    Args:
        collected: The ingest.
        target: The path in the cohort's folder, a .nii.gz.
        original: A .nii.gz, .nii, or one file of an Analyze or NIfTI pair (.hdr and .img).

    Raises:
        ScanExcluded: If the file is absent, can't be read, is DICOM, or isn't a whole three-dimensional image of real numbers.
    """
    check_kind(original)
    if pair := pair_of(original):
        return _take_pair(collected, target, pair)
    found = read_nifti(original, STAGE)
    if found.gzipped and original.name.lower().endswith(".gz"):
        sha256 = collected.link_image(target, original.absolute())
    else:
        collected.hash_original(original)
        sha256 = collected.write_image(target, gzipped(found.content), original)
    return Taken(Image(target, sha256, voxels_sha256(found.image)), states_orientation(found.image.header))


def _take_pair(collected: Ingested, target: str, pair: tuple[Path, ...]) -> Taken:
    """Bring an Analyze or NIfTI pair to ``target``."""
    found, oriented = read_pair(pair)
    for path in pair[:2]:
        collected.hash_original(path)
    sha256 = collected.write_image(target, gzipped(found.content), pair[1])
    return Taken(Image(target, sha256, voxels_sha256(found.image)), oriented)


def read_image(collected: Ingested, original: Path) -> NiftiFile:
    """Read a user's image without bringing it into the cohort's folder; the arguments and errors are those of `take_image`."""
    check_kind(original)
    pair = pair_of(original)
    found = read_pair(pair)[0] if pair else read_nifti(original, STAGE)
    for path in pair[:2] or (original,):
        collected.hash_original(path)
    return found


def check_kind(original: Path) -> None:
    """Raise ScanExcluded for a folder, for DICOM, and for a file whose name isn't that of a readable kind of image."""
    if os.path.isdir(original) or is_dicom(original):
        is_folder = f"{original.name} is a folder, and an image file is expected."
        raise ScanExcluded(STAGE, dicom_reason(original) if is_dicom(original) else is_folder)
    if not original.name.lower().endswith(IMAGE_SUFFIXES):
        raise ScanExcluded(
            STAGE, f"{original.name} is none of .nii, .nii.gz and an Analyze pair (.hdr and .img); convert it."
        )


def read_pair(pair: tuple[Path, ...]) -> tuple[NiftiFile, bool]:
    """Read an Analyze or NIfTI pair (`pair_of`) as NIfTI, and whether it states the orientation of the head."""
    header = _content(pair[0], PAIR_HEADER_BYTES)
    if os.path.lexists(pair[2]):
        _content(pair[2], MAT_BYTES)
    if header[344:348] == b"ni1\0":
        found = nifti_from_bytes(_from_nifti_pair(header, _content(pair[1], LARGEST_FILE_BYTES)), STAGE)
        return found, states_orientation(found.image.header)
    content, oriented = _from_analyze_pair(pair[0], header, pair[1])
    return nifti_from_bytes(content, STAGE), oriented


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name or its mark, or a folder has such files."""
    if os.path.isdir(path):
        try:
            files = [Path(entry.path) for entry in sorted(os.scandir(path), key=lambda entry: entry.name)]
        except OSError:
            return False
        return any(is_dicom(one) for one in files[:FILES_LOOKED_AT] if not os.path.isdir(one))
    if path.suffix.lower() == ".dcm":
        return True
    try:
        with open_regular(path) as stream:
            stream.seek(DICOM_OFFSET)
            return stream.read(len(DICOM_MARK)) == DICOM_MARK
    except (UnusableFile, OSError):
        return False


def dicom_reason(path: Path, shown: str | None = None) -> str:
    """The sentence on a DICOM file or folder, with the command that converts it. ``shown``: the folder in that command."""
    folder = shown or (path.name if os.path.isdir(path) else path.parent.name)
    return (
        f"{path.name} is DICOM, and NIfTI is expected: convert it with `dcm2niix -z y -o OUTPUT_FOLDER {shlex.quote(folder)}` "
        "and give the .nii.gz that it writes."
    )


def _content(path: Path, limit: int) -> bytes:
    """The bytes of a file. Raises ScanExcluded if it can't be read; errors of the machine fail the job."""
    try:
        return read_bytes(path, limit)
    except UnusableFile as fault:
        raise ScanExcluded(STAGE, f"{path.name} {fault}.") from fault


def states_orientation(header: nib.Nifti1Header) -> bool:
    """Whether a NIfTI file has an sform or a qform."""
    return bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def _from_nifti_pair(header: bytes, voxels: bytes) -> bytes:
    """The .nii of a NIfTI-1 pair; only the fields with the position of the voxels change."""
    fields = nib.Nifti1Header(header[:348], check=False)
    start = int(fields["vox_offset"])
    fields["magic"], fields["vox_offset"] = b"n+1", HEADER_BYTES
    return fields.binaryblock + bytes(HEADER_BYTES - 348) + voxels[start:]


def _from_analyze_pair(path: Path, header: bytes, voxels_path: Path) -> tuple[bytes, bool]:
    """The .nii of an Analyze pair as nibabel reads it, and whether it has a .mat file with its orientation.

    Voxels keep their type if the header has no scaling (SPM's), and become float32 if it has.
    """
    try:
        with open_regular(voxels_path) as stream:
            size = os.fstat(stream.fileno()).st_size
    except UnusableFile as fault:
        raise ScanExcluded(STAGE, f"{voxels_path.name} {fault}.") from fault
    try:
        image = nib.load(path)
        if len(header) < 348 or not isinstance(image, nib.AnalyzeImage):
            raise ValueError("it is no Analyze header of 348 bytes")
        proxy: Any = image.dataobj
        kind, affine = image.get_data_dtype(), np.asarray(image.affine, dtype=float)
    except Exception as error:  # nibabel raises many kinds on a damaged header or orientation file
        problem = str(error).replace(str(path), path.name)
        raise ScanExcluded(STAGE, f"{path.name} can't be read as Analyze ({problem}).") from error
    shape = spatial_shape(image.shape, STAGE)
    needed = proxy.offset + bytes_of_voxels(shape, kind, STAGE)
    if size < needed:
        raise ScanExcluded(STAGE, f"The image is cut short: {size} bytes of {needed}.")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ScanExcluded(STAGE, "The voxel sizes or the orientation of the Analyze pair are not those of an image.")
    scaled = (proxy.slope, proxy.inter) != (1, 0)
    voxels = np.asarray(proxy, dtype=np.float32) if scaled else proxy.get_unscaled().astype(kind.newbyteorder("<"))
    nifti = nib.Nifti1Image(voxels.reshape(shape), affine)
    nifti.header.set_xyzt_units("mm")
    nifti.set_sform(affine, ALIGNED)
    nifti.set_qform(affine, ALIGNED)
    return nifti.to_bytes(), os.path.isfile(pair_of(path)[2])
