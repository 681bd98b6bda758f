"""The figure of generated images, marked as such, as WebP."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from neurocohort.files import written_aside
from neurocohort.report.figures import STYLE

PLANES = (("Axial", 2), ("Coronal", 1), ("Sagittal", 0))
COLUMN_IN, ROW_IN, HEAD_IN = 1.35, 1.4, 0.55
DOTS_PER_INCH, WEBP_QUALITY = 125, 82
BRIGHTEST_PERCENTILE = 99.5
INK, MARK = "#1c1f23", "#d9480f"


def generated_figure(images: np.ndarray, titles: Sequence[str], path: Path) -> tuple[int, int]:
    """Draw a middle slice of each plane of ``images`` (N, X, Y, Z) under ``titles``; return width and height in pixels.

    The picture itself says that these are no scans, since it may be copied without its caption.
    """
    size = (COLUMN_IN * len(images), HEAD_IN + ROW_IN * len(PLANES))
    with matplotlib.rc_context(STYLE | {"figure.facecolor": "white"}):
        figure = Figure(figsize=size, layout="constrained", dpi=DOTS_PER_INCH)
        figure.suptitle("GENERATED – not scans of people", fontsize=11, color=MARK)
        grid = figure.subplots(len(PLANES), len(images), squeeze=False)
        high = float(np.percentile(images[images > 0], BRIGHTEST_PERCENTILE)) if (images > 0).any() else 1.0
        for (plane, axis), row in zip(PLANES, grid, strict=True):
            for image, axes in zip(images, row, strict=True):
                middle = np.take(image, image.shape[axis] // 2, axis=axis).T
                axes.imshow(middle, cmap="gray", vmin=0, vmax=high, origin="lower")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            row[0].set_ylabel(plane, fontsize=9, color=INK)
        for title, axes in zip(titles, grid[0], strict=True):
            axes.set_title(title, fontsize=9, color=INK)
        with written_aside(path) as aside:
            figure.savefig(aside, format="webp", dpi=DOTS_PER_INCH, pil_kwargs={"quality": WEBP_QUALITY, "method": 4})
    return round(size[0] * DOTS_PER_INCH), round(size[1] * DOTS_PER_INCH)
