"""Uploaded files: their names, their sizes and their headers are checked before anything is read or unpacked."""

import math
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from neurocohort.errors import ScanExcluded
from neurocohort.imaging.reading import NIFTI_SUFFIXES
from neurocohort.nifti_files import bytes_of_voxels, read_nifti_header, spatial_shape

STAGE = "read"
MEGABYTE = 1_000_000
LONGEST_NAME = 100
OLDEST_YEARS = 130
FORBIDDEN, TOO_LARGE, WRONG_KIND, WRONG_CONTENT = 403, 413, 415, 422  # HTTP


class Refused(Exception):
    """An upload is refused. ``status``: of HTTP."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


def safe_name(name: str) -> str:
    """The name under which an upload is stored. Raises Refused unless it ends in .nii or .nii.gz."""
    suffix = next((one for one in NIFTI_SUFFIXES if name.lower().endswith(one)), None)
    if suffix is None:
        raise Refused(
            WRONG_KIND, f"The file is called {name[:LONGEST_NAME]!r}; expected a name ending in .nii or .nii.gz."
        )
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(name).name[: -len(suffix)]).strip("-.")[:LONGEST_NAME]
    return f"{stem or 'scan'}{suffix}"


def known_age(text: str) -> float | None:
    """The age in years; None if the field is empty. Raises Refused if it is no age."""
    if not text.strip():
        return None
    try:
        age = float(text)
    except ValueError:
        age = math.nan
    if not 0 <= age <= OLDEST_YEARS:
        raise Refused(
            WRONG_CONTENT, f"The age is {text[:LONGEST_NAME]!r}; expected years from 0 to {OLDEST_YEARS}, or nothing."
        )
    return age


def check_declared_size(headers: Mapping[str, str], max_mb: float) -> None:
    """Raise Refused if the size that a browser declares is above the limit; nothing has been read then."""
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_mb * MEGABYTE:
        raise Refused(
            TOO_LARGE,
            f"The file has {int(declared) / MEGABYTE:.0f} MB; the limit is {max_mb:g} MB (--max-mb).",
        )


async def store(chunks: AsyncIterator[bytes], path: Path, max_mb: float) -> None:
    """Write an upload to ``path``. Raises Refused as soon as it is larger than the limit, or if it is empty."""
    written = 0
    with open(path, "xb") as stream:
        async for chunk in chunks:
            written += len(chunk)
            if written > max_mb * MEGABYTE:
                raise Refused(TOO_LARGE, f"The file is larger than {max_mb:g} MB, the limit of this page (--max-mb).")
            stream.write(chunk)
    if not written:
        raise Refused(WRONG_CONTENT, "The file is empty.")


def check_image(path: Path, max_mb: float) -> None:
    """Read the header, and nothing else. The voxels are read within the limits of `nifti_files`, when the job runs.

    Raises:
        Refused: If it is no three-dimensional NIfTI image, or its voxels take more than the limit when unpacked.
    """
    try:
        header = read_nifti_header(path, STAGE)
        size = bytes_of_voxels(spatial_shape(header.get_data_shape(), STAGE), header.get_data_dtype(), STAGE)
    except ScanExcluded as excluded:
        raise Refused(WRONG_CONTENT, f"{path.name} can't be used. {excluded.reason}") from excluded
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise Refused(WRONG_CONTENT, f"{path.name} can't be used. The header is damaged ({error}).") from error
    if size > max_mb * MEGABYTE:
        raise Refused(
            TOO_LARGE,
            f"{path.name} has {size / MEGABYTE:.0f} MB of voxels when unpacked; the limit is {max_mb:g} MB (--max-mb).",
        )
