"""Reading NIfTI files within limits: the header first, and then no more bytes than it needs.

A header that claims more than any image of a head is refused, and nothing is allocated for it. A gzip bomb, in the image or after
it, is found after the bytes that the image needs.
"""

import gzip
import io
import math
import os
import zlib
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import nibabel as nib
import numpy as np

from neurocohort.errors import ScanExcluded
from neurocohort.text import by
from neurocohort.user_files import UnusableFile, open_regular

LARGEST_IMAGE_BYTES = 1 << 30  # of the voxels: a head at 0.4 mm as float32; at 0.5 mm as float64
EXTRA_BYTES = 1 << 20  # after the voxels, where some programs leave padding
GZIP_MARK = b"\x1f\x8b"
LARGEST_GZIP_RATIO = 1032  # of deflate: each bit gives at most 258 / 2 bytes
LARGEST_FILE_BYTES = LARGEST_IMAGE_BYTES + LARGEST_IMAGE_BYTES // 1000 + 2 * EXTRA_BYTES  # gzip can lengthen, a little
REAL_NUMBERS = "iuf"  # numpy's kinds


class NiftiFile(NamedTuple):
    """A NIfTI file in memory. ``content``: its decompressed bytes. ``gzipped``: whether the file is compressed."""

    content: bytes
    image: nib.Nifti1Image
    gzipped: bool


def read_nifti(path: Path, stage: str, *, series: bool = False) -> NiftiFile:
    """Read the file at ``path``. Raises ScanExcluded(``stage``) if it is no regular file, or as `nifti_of` does."""
    try:
        with open_regular(path) as stream:
            return nifti_of(stream, os.fstat(stream.fileno()).st_size, stage, series=series)
    except UnusableFile as fault:
        raise ScanExcluded(stage, f"{path.name} {fault}.") from fault


def nifti_of(stream: BinaryIO, size: int, stage: str, *, series: bool = False) -> NiftiFile:
    """Read a NIfTI file, gzipped or not, from a stream of ``size`` bytes.

    ``series``: whether it is a series of volumes, (X, Y, Z, volumes), and not one.

    Raises:
        ScanExcluded: (``stage``) If it isn't a whole image of real numbers with that many dimensions, or is larger than a head's.
    """
    if size > LARGEST_FILE_BYTES:
        raise ScanExcluded(stage, f"The image file has {size} bytes, and a head's has at most {LARGEST_FILE_BYTES}.")
    gzipped = stream.read(2) == GZIP_MARK
    stream.seek(0)
    try:
        source: IO[bytes] = gzip.GzipFile(fileobj=stream) if gzipped else stream  # type: ignore[assignment]
        header = _header(source, stage)
        needed = _needed_bytes(header, stage, series)
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
            stage, f"The image file continues after its voxels: its header asks for {needed} bytes, and there are more."
        )
    try:
        return NiftiFile(content, nifti_class(content).from_bytes(content), gzipped)
    except Exception as error:  # nibabel raises many kinds on a damaged header or extension
        raise ScanExcluded(stage, f"The image can't be read as NIfTI ({error}).") from error


def read_nifti_header(path: Path, stage: str) -> nib.Nifti1Header:
    """Read only the header of the file at ``path``. Raises ScanExcluded(``stage``) if it is no NIfTI file."""
    try:
        with open_regular(path) as stream:
            gzipped = stream.read(2) == GZIP_MARK
            stream.seek(0)
            return _header(gzip.GzipFile(fileobj=stream) if gzipped else stream, stage)  # type: ignore[arg-type]
    except UnusableFile as fault:
        raise ScanExcluded(stage, f"{path.name} {fault}.") from fault
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ScanExcluded(stage, f"The image is not a whole gzip file ({error}).") from error


def nifti_class(content: bytes) -> type[nib.Nifti1Image]:
    """NIfTI-2 if the header has its length, in either byte order; else NIfTI-1."""
    length = nib.Nifti2Header.sizeof_hdr
    return (
        nib.Nifti2Image if content[:4] in (length.to_bytes(4, "little"), length.to_bytes(4, "big")) else nib.Nifti1Image
    )


def spatial_shape(shape: tuple[int, ...], stage: str) -> tuple[int, int, int]:
    """The shape without trailing ones. Raises ScanExcluded if it isn't three-dimensional, or has a side below 2."""
    sizes = [int(size) for size in shape]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3 or min(sizes) < 2:
        raise ScanExcluded(stage, f"The image is {by(sizes)} and not three-dimensional.")
    return sizes[0], sizes[1], sizes[2]


def series_shape(shape: tuple[int, ...], stage: str) -> tuple[int, ...]:
    """The shape of a series of volumes, (X, Y, Z, volumes). Raises ScanExcluded if it has another number of dimensions."""
    sizes = tuple(int(size) for size in shape)
    if len(sizes) != 4 or min(sizes) < 2:
        raise ScanExcluded(stage, f"The image is {by(sizes)}; expected four dimensions, the last one the volumes.")
    return sizes


def bytes_of_voxels(shape: tuple[int, ...], kind: np.dtype, stage: str) -> int:
    """The size of an image's voxels. Raises ScanExcluded if they are no real numbers, or more than a head's."""
    if kind.kind not in REAL_NUMBERS:
        found = "colours" if kind.names else kind
        raise ScanExcluded(
            stage,
            f"The image holds {found} and not real numbers; expected one number per voxel, as in a magnitude image.",
        )
    voxels = math.prod(shape)  # of Python's integers, which don't overflow
    if voxels * kind.itemsize > LARGEST_IMAGE_BYTES:
        raise ScanExcluded(
            stage,
            f"The header asks for {by(shape)} voxels of {kind}, {voxels * kind.itemsize} bytes; a head's "
            f"image has at most {LARGEST_IMAGE_BYTES}.",
        )
    return voxels * kind.itemsize


def _header(source: IO[bytes], stage: str) -> nib.Nifti1Header:
    """Read the header without its extensions, and return to the start of ``source``."""
    start = source.read(nib.Nifti2Header.sizeof_hdr)
    source.seek(0)
    kind = nifti_class(start).header_class
    try:
        return kind(start[: kind.sizeof_hdr])
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise ScanExcluded(stage, f"The image can't be read as NIfTI ({error}).") from error


def _needed_bytes(header: nib.Nifti1Header, stage: str, series: bool) -> int:
    """The length of the file by its header: up to the last voxel."""
    try:
        shape, kind, offset = header.get_data_shape(), header.get_data_dtype(), float(header["vox_offset"])
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise ScanExcluded(stage, f"The image can't be read as NIfTI ({error}).") from error
    if not 0 <= offset <= LARGEST_IMAGE_BYTES:
        raise ScanExcluded(stage, f"The image's voxels begin at byte {offset:g} by its header, which is impossible.")
    sizes = series_shape(shape, stage) if series else spatial_shape(shape, stage)
    return int(offset) + bytes_of_voxels(sizes, kind, stage)


def nifti_from_bytes(content: bytes, stage: str) -> NiftiFile:
    """`nifti_of` for a file that is in memory."""
    return nifti_of(io.BytesIO(content), len(content), stage)
