"""The bytes of a NIfTI file, read within limits: the header first, and then no more than what it asks for.

Nothing is allocated because a header claims it. A gzip bomb, in the image or behind it, is found after the bytes that the image
needs; a header that asks for more than any head has is refused as it is.
"""

import gzip
import io
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import nibabel as nib
import numpy as np

from neurocohort.errors import ScanExcluded
from neurocohort.user_files import UnusableFile, open_regular

LARGEST_IMAGE_BYTES = 1 << 30  # of the voxels: a head at 0.4 mm as float32; at 0.5 mm as float64
EXTRA_BYTES = 1 << 20  # behind the voxels, where some programs leave padding
GZIP_MARK = b"\x1f\x8b"
LARGEST_GZIP_RATIO = 1032  # of deflate: each bit of it gives at most 258 / 2 bytes
LARGEST_FILE_BYTES = LARGEST_IMAGE_BYTES + LARGEST_IMAGE_BYTES // 1000 + 2 * EXTRA_BYTES  # gzip can lengthen, a little
REAL_NUMBERS = "iuf"  # numpy's kinds


class NiftiFile(NamedTuple):
    """A whole NIfTI file in memory. ``content``: its bytes, decompressed; ``image``: nibabel's view of them; ``gzipped``: whether
    the file is compressed."""

    content: bytes
    image: nib.Nifti1Image
    gzipped: bool


def read_nifti(path: Path, stage: str) -> NiftiFile:
    """Read the file at ``path``. Raises ScanExcluded(``stage``) where it is no regular file, or as `nifti_of` does."""
    try:
        with open_regular(path) as stream:
            return nifti_of(stream, os.fstat(stream.fileno()).st_size, stage)
    except UnusableFile as fault:
        raise ScanExcluded(stage, f"{path.name} {fault}.") from fault


def nifti_of(stream: BinaryIO, size: int, stage: str) -> NiftiFile:
    """The NIfTI file in ``stream``, which has ``size`` bytes, gzipped or not.

    Raises ScanExcluded(``stage``) unless it is a whole three-dimensional image of real numbers that is no larger than a head's.
    """
    if size > LARGEST_FILE_BYTES:
        raise ScanExcluded(stage, f"The image file has {size} bytes, and a head's has at most {LARGEST_FILE_BYTES}.")
    gzipped = stream.read(2) == GZIP_MARK
    stream.seek(0)
    try:
        source = gzip.GzipFile(fileobj=stream) if gzipped else stream
        header = _header(source, stage)
        needed = _needed_bytes(header, stage)
        most = size * LARGEST_GZIP_RATIO if gzipped else size
        if most < needed:
            raise ScanExcluded(stage, f"The image is cut short: {size} bytes of {needed}{' unpacked' * gzipped}.")
        if gzipped and size > needed + needed // 1000 + 2 * EXTRA_BYTES:
            raise ScanExcluded(stage, f"The image file has {size} bytes, and its header asks for {needed} unpacked.")
        content = source.read(needed + EXTRA_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ScanExcluded(stage, f"The image is not a whole gzip file ({error}).") from error
    if len(content) < needed:
        raise ScanExcluded(stage, f"The image is cut short: {len(content)} bytes of {needed}.")
    if len(content) > needed + EXTRA_BYTES:
        raise ScanExcluded(
            stage, f"The image file goes on behind its voxels: its header asks for {needed} bytes, and there are more."
        )
    try:
        return NiftiFile(content, nifti_class(content).from_bytes(content), gzipped)
    except Exception as error:  # nibabel raises many kinds on a damaged header or extension
        raise ScanExcluded(stage, f"The image can't be read as NIfTI ({error}).") from error


def nifti_class(content: bytes) -> type[nib.Nifti1Image]:
    """NIfTI-2 where the header's length says so, in either byte order; NIfTI-1 otherwise."""
    length = nib.Nifti2Header.sizeof_hdr
    return (
        nib.Nifti2Image if content[:4] in (length.to_bytes(4, "little"), length.to_bytes(4, "big")) else nib.Nifti1Image
    )


def spatial_shape(shape: tuple[int, ...], stage: str) -> tuple[int, int, int]:
    """The shape without trailing ones. Raises ScanExcluded unless three dimensions remain, each of two or more."""
    shape = tuple(int(size) for size in shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        raise ScanExcluded(stage, f"The image is {' x '.join(map(str, shape))} and not three-dimensional.")
    return shape


def bytes_of_voxels(shape: tuple[int, ...], kind: np.dtype, stage: str) -> int:
    """What the voxels of an image take. Raises ScanExcluded where they are no real numbers, or more than a head's."""
    if kind.kind not in REAL_NUMBERS:
        found = "colours" if kind.names else kind
        raise ScanExcluded(
            stage, f"The image holds {found} and not real numbers; expected one a voxel, as in a magnitude image."
        )
    voxels = math.prod(shape)  # of Python's integers, which don't overflow
    if voxels * kind.itemsize > LARGEST_IMAGE_BYTES:
        raise ScanExcluded(
            stage,
            f"The header asks for {' x '.join(map(str, shape))} voxels of {kind}, {voxels * kind.itemsize} bytes; a head's "
            f"image has at most {LARGEST_IMAGE_BYTES}.",
        )
    return voxels * kind.itemsize


def _header(source: BinaryIO, stage: str) -> nib.Nifti1Header:
    """The header alone, with none of its extensions; ``source`` is at its beginning again."""
    start = source.read(nib.Nifti2Header.sizeof_hdr)
    source.seek(0)
    kind = nifti_class(start).header_class
    try:
        return kind(start[: kind.sizeof_hdr])
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise ScanExcluded(stage, f"The image can't be read as NIfTI ({error}).") from error


def _needed_bytes(header: nib.Nifti1Header, stage: str) -> int:
    """The length that the header asks for: up to its last voxel."""
    try:
        shape, kind, offset = header.get_data_shape(), header.get_data_dtype(), float(header["vox_offset"])
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise ScanExcluded(stage, f"The image can't be read as NIfTI ({error}).") from error
    if not 0 <= offset <= LARGEST_IMAGE_BYTES:
        raise ScanExcluded(stage, f"The header says that the voxels begin at byte {offset:g}, where no image has them.")
    return int(offset) + bytes_of_voxels(spatial_shape(shape, stage), kind, stage)


def nifti_from_bytes(content: bytes, stage: str) -> NiftiFile:
    """`nifti_of` for a file that is in memory."""
    return nifti_of(io.BytesIO(content), len(content), stage)
