"""Files that must not stop a cohort, each in the place of one scan's image, with a word of the reason that must come out."""

import contextlib
import gzip
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
MEBIBYTE = 1 << 20


def good(seed: int = 0, kind: type = np.int16, shape: tuple[int, ...] = (24, 26, 22)) -> bytes:
    """A whole .nii."""
    voxels = np.random.default_rng(seed).integers(0, 200, shape).astype(kind)
    return nib.Nifti1Image(voxels, AFFINE, dtype=kind).to_bytes()


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def bomb(mebibytes: int, first: bytes = b"") -> bytes:
    """A gzip file of ``first`` and so many MiB of zeros, in members of 64 MiB."""
    return zipped(first) + zipped(bytes(64 * MEBIBYTE)) * (mebibytes // 64)


def changed(content: bytes, *fields: tuple[int, str, object]) -> bytes:
    """A header with other values: each a place, a format of `struct`, and what is written there."""
    edited = bytearray(content)
    for place, form, value in fields:
        packed = struct.pack(form, *value) if isinstance(value, tuple) else struct.pack(form, value)
        edited[place : place + len(packed)] = packed
    return bytes(edited)


def nifti2(shape: tuple[int, int, int]) -> bytes:
    """The header of a NIfTI-2 file that claims ``shape``, and no voxels."""
    small = nib.Nifti2Image(np.zeros((2, 2, 2), np.float32), AFFINE).to_bytes()
    return changed(small, (16, "<8q", (3, *shape, 1, 1, 1, 1)))


# By name: the content of the file, and what the reason holds.
CONTENTS: dict[str, tuple[bytes | Callable[[], bytes], str]] = {
    "empty.nii.gz": (b"", "can't be read as NIfTI"),
    "text.nii.gz": (b"<html>log in</html>", "can't be read as NIfTI"),
    "half.nii": (good()[:9000], "cut short: 9000 bytes"),
    "half.nii.gz": (zipped(good())[:5000], "not a whole gzip file"),
    "crc.nii.gz": (zipped(good())[:-8] + bytes(8), "not a whole gzip file"),
    "header_alone.nii": (good()[:352], "cut short"),
    "header_alone.nii.gz": (zipped(good()[:352]), "cut short"),
    "bomb.nii.gz": (lambda: bomb(4096), "can't be read as NIfTI"),
    "bomb_behind.nii.gz": (lambda: bomb(4096, good()), "its header asks for 27808"),
    "bomb_in_one.nii.gz": (lambda: zipped(good() + bytes(256 * MEBIBYTE)), "continues after its voxels"),
    "huge_dims.nii": (nifti2((30000, 30000, 30000)), "30000 x 30000 x 30000 voxels of float32"),
    "huge_dims.nii.gz": (zipped(nifti2((30000, 30000, 30000))), "30000 x 30000 x 30000 voxels"),
    "overflowing_dims.nii": (nifti2((2**62, 2**62, 4)), "The header asks for"),
    "negative_dims.nii": (nifti2((-20, 30, 30)), "not three-dimensional"),
    "zero_dims.nii": (nifti2((0, 30, 30)), "not three-dimensional"),
    "dims_1.nii": (changed(good(), (40, "<8h", (3, 32767, 32767, 32767, 1, 1, 1, 1))), "The header asks for"),
    "lying_dims.nii.gz": (zipped(changed(good(), (40, "<8h", (3, 500, 500, 500, 1, 1, 1, 1)))), "cut short"),
    "offset_huge.nii": (changed(good(), (108, "<f", 1e30)), "begin at byte"),
    "offset_nan.nii": (changed(good(), (108, "<f", float("nan"))), "image"),
    "offset_negative.nii": (changed(good(), (108, "<f", -400.0)), "image"),
    "kind_unknown.nii": (changed(good(), (70, "<h", 12345)), "can't be read as NIfTI"),
    "complex.nii": (good(kind=np.complex64), "not real numbers"),
    "colours.nii": (changed(good(), (70, "<hh", (128, 24))), "not real numbers"),
    "four_dims.nii.gz": (zipped(good(shape=(8, 8, 8, 3))), "not three-dimensional"),
    "one_slice.nii.gz": (zipped(good(shape=(24, 26, 1))), "not three-dimensional"),
    "extension.nii": (changed(good(), (348, "<4B", (1, 0, 0, 0)), (108, "<f", 1e9)), "cut short"),
    "random.nii.gz": (np.random.default_rng(3).bytes(4000), "can't be read as NIfTI"),
    "random_in_gzip.nii.gz": (zipped(np.random.default_rng(4).bytes(40000)), "can't be read as NIfTI"),
    "cut_head.hdr": (b"\x5c\x01\x00\x00" + bytes(40), "is not there"),
    "other.mgz": (b"x", "none of .nii"),
}


def write_bad_files(folder: Path) -> dict[str, str]:
    """Make every kind in ``folder``: by what a table's cell names, a word of the reason that must come out."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, (content, reason) in CONTENTS.items():
        (folder / name).write_bytes(content() if callable(content) else content)
        expected[str(folder / name)] = reason
    os.mkfifo(folder / "pipe.nii.gz")
    (folder / "loop.nii.gz").symlink_to("loop.nii.gz")
    (folder / "loop_folder").symlink_to("loop_folder")
    (folder / "zeros.nii.gz").symlink_to("/dev/zero")
    (folder / "gone.nii.gz").symlink_to("nowhere")
    (folder / "folder.nii.gz").mkdir()
    # A socket's path is short by itself, unlike a test's folder.
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.nii.gz")
    with (folder / "sparse.nii").open("wb") as stream:
        stream.write(good())
        stream.truncate(20_000 * MEBIBYTE)
    with (folder / "sparse.nii.gz").open("wb") as stream:
        stream.write(zipped(good()))
        stream.truncate(900 * MEBIBYTE)
    os.mkfifo(folder / "pair.img")
    (folder / "pair.hdr").write_bytes(nib.AnalyzeHeader().binaryblock)
    return expected | {
        str(folder / "pipe.nii.gz"): "is a named pipe",
        str(folder / "loop.nii.gz"): "is a link that leads back to itself",
        str(folder / "loop_folder" / "a.nii.gz"): "is a link that leads back to itself",
        str(folder / "zeros.nii.gz"): "is a device",
        str(folder / "gone.nii.gz"): "is a link to a file that is not there",
        str(folder / "folder.nii.gz"): "is a folder",
        str(folder / "socket.nii.gz"): "a socket",
        str(folder / "sparse.nii"): "has 20971520000 bytes",
        str(folder / "sparse.nii.gz"): "its header asks for",
        str(folder / "pair.hdr"): "is a named pipe",
        str(folder / "text.nii.gz" / "a.nii.gz"): "a part of its path is a file",
        str(folder / ("long" * 100)) + ".nii.gz": "too long",
        str(folder / ("deep/" * 1000)) + "a.nii.gz": "too long",
        "~nosuchuser/x.nii.gz": "~nosuchuser is no home folder of this machine",
    }
