"""The pictures of the gallery. If all mosaics are small enough for one page they are used as they are, else smaller copies, so
that the page with its figures stays below 10 MB for any number of scans. The scans' own pages have the full size."""

import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from neurocohort.files import written_aside
from neurocohort.report.figures import Drawing
from neurocohort.report.study import Cohort

BUDGET_BYTES = 6_000_000  # for all pictures of the gallery: the page's text and figures need the rest of the 10 MB
SAMPLED = 12  # mosaics that are encoded to measure the bytes of a size
UNREADABLE = "The file is not an image that can be read."


class Thumbnail(NamedTuple):
    """Width of a gallery picture in pixels and its WebP quality, 0 to 100."""

    width: int
    quality: int


SIZES = (Thumbnail(640, 50), Thumbnail(480, 40), Thumbnail(400, 30), Thumbnail(320, 30), Thumbnail(240, 30))


def fitting_size(mosaics: Sequence[Path], budget_bytes: int = BUDGET_BYTES) -> Thumbnail | None:
    """The largest size at which all of ``mosaics`` fit into the budget, or the smallest size where none fits, as in a study of
    several thousand scans; None where they fit as they are."""
    if sum(path.stat().st_size for path in mosaics) <= budget_bytes:
        return None
    picked = np.unique(np.linspace(0, len(mosaics) - 1, SAMPLED).round().astype(int))
    for size in SIZES:
        encoded = [len(made) for index in picked if (made := _encoded(mosaics[index], size))]
        if np.mean(encoded or [0]) * len(mosaics) <= budget_bytes:
            return size
    return SIZES[-1]


def place(mosaic: Path, target: Path, size: Thumbnail | None) -> tuple[int, int]:
    """Put a mosaic into the report.

    Args:
        mosaic: The image.
        target: Where it goes.
        size: The size of the copy; None for the image as it is.

    Returns:
        Its width and height in pixels.

    Raises:
        OSError: If the file is not an image.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    made = _encoded(mosaic, size) if size else None
    with written_aside(target) as aside:  # raises StorageFailed for a full disk
        if made:
            aside.write_bytes(made)
        else:
            link_or_copy(mosaic, aside)
    with Image.open(target) as image:
        return image.size


def shown_in_mosaic(native: bool) -> str:
    """What a mosaic shows, for its alternative text; ``native``: of a scan that is not registered."""
    if native:
        return "the scan with its foreground, and the image on the study's grid"
    return "the scan with its brain mask, and the registered brain with the template's outlines"


def drawing(cohort: Cohort, scan_id: str, caption: str, size: tuple[int, int]) -> Drawing:
    """A mosaic of the gallery on the page; ``size``: its width and height in pixels."""
    alt = f"Slices of {scan_id}: {shown_in_mosaic(cohort.native)}"
    return Drawing(f"mosaics/{cohort.name}/{scan_id}.webp", alt, caption, *size)


def link_or_copy(source: Path, target: Path) -> None:
    """Link ``source`` to ``target``, or copy it where the file system has no links, so that no mosaic takes space twice."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _encoded(mosaic: Path, size: Thumbnail) -> bytes | None:
    """The smaller picture; None where the mosaic is not larger than that, or can't be read."""
    try:
        with Image.open(mosaic) as image:
            if image.width <= size.width:
                return None
            height = round(image.height * size.width / image.width)
            small = image.convert("RGB").resize((size.width, height), Image.Resampling.LANCZOS)
    except OSError:
        return None
    stream = io.BytesIO()
    small.save(stream, "WEBP", quality=size.quality, method=4)
    return stream.getvalue()
