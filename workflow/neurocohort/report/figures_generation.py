"""The figures of generated and of changed images, marked as such, as WebP."""

from collections.abc import Sequence
from dataclasses import dataclass
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
AXIAL = 2  # the axis that axial slices are perpendicular to
FEWEST_LEVELS = 0.1  # that the colours of a map of differences span


@dataclass(frozen=True)
class Shown:
    """What the figure of changed images shows.

    Attributes:
        images: (scans, columns, X, Y, Z).
        differences: Mean differences of the last columns, (columns, X, Y, Z).
        rows: The name of each scan.
        columns: The name of each column.
    """

    images: np.ndarray
    differences: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]


def generated_figure(images: np.ndarray, titles: Sequence[str], path: Path) -> tuple[int, int]:
    """Draw a middle slice of each plane of ``images`` (N, X, Y, Z) under ``titles``; return width and height in pixels.

    The picture itself says that these are no scans, since it may be copied without its caption.
    """
    size = (COLUMN_IN * len(images), HEAD_IN + ROW_IN * len(PLANES))
    with matplotlib.rc_context(STYLE | {"figure.facecolor": "white"}):
        figure = Figure(figsize=size, layout="constrained", dpi=DOTS_PER_INCH)
        figure.suptitle("GENERATED – not scans of people", fontsize=11, color=MARK)
        grid = figure.subplots(len(PLANES), len(images), squeeze=False)
        high = _brightest(images)
        for (plane, axis), row in zip(PLANES, grid, strict=True):
            for image, axes in zip(images, row, strict=True):
                middle = np.take(image, image.shape[axis] // 2, axis=axis).T
                axes.imshow(middle, cmap="gray", vmin=0, vmax=high, origin="lower")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            row[0].set_ylabel(plane, fontsize=9, color=INK)
        for title, axes in zip(titles, grid[0], strict=True):
            axes.set_title(title, fontsize=9, color=INK)
        return _written(figure, path)


def counterfactual_figure(shown: Shown, path: Path) -> tuple[int, int]:
    """Draw a middle axial slice of scans and of what a model makes of them, and the mean differences below; return width and
    height in pixels."""
    count, width = shown.images.shape[:2]
    with matplotlib.rc_context(STYLE | {"figure.facecolor": "white"}):
        size = (COLUMN_IN * width + HEAD_IN, HEAD_IN + ROW_IN * (count + 1))
        figure = Figure(figsize=size, layout="constrained", dpi=DOTS_PER_INCH)
        figure.suptitle("GENERATED, except for the first column", fontsize=11, color=MARK)
        grid = figure.subplots(count + 1, width, squeeze=False)
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        high = _brightest(shown.images)
        for images, name, row in zip(shown.images, shown.rows, grid, strict=False):
            for image, axes in zip(images, row, strict=True):
                axes.imshow(_axial(image), cmap="gray", vmin=0, vmax=high, origin="lower")
            row[0].set_ylabel(name, fontsize=9, color=INK)
        for title, axes in zip(shown.columns, grid[0], strict=True):
            axes.set_title(title, fontsize=9, color=INK)
        most = max(float(np.percentile(np.abs(shown.differences), BRIGHTEST_PERCENTILE)), FEWEST_LEVELS)
        last = grid[-1][-len(shown.differences) :]
        for difference, axes in zip(shown.differences, last, strict=True):
            drawn = axes.imshow(_axial(difference), cmap="RdBu_r", vmin=-most, vmax=most, origin="lower")
        bar = figure.colorbar(drawn, ax=list(grid[-1]), fraction=0.04)
        bar.set_label("levels", fontsize=8, color=INK)
        last[0].set_ylabel("mean difference", fontsize=9, color=INK)
        return _written(figure, path)


def _axial(image: np.ndarray) -> np.ndarray:
    return np.take(image, image.shape[AXIAL] // 2, axis=AXIAL).T


def _brightest(images: np.ndarray) -> float:
    """The level that is drawn white."""
    return float(np.percentile(images[images > 0], BRIGHTEST_PERCENTILE)) if (images > 0).any() else 1.0


def _written(figure: Figure, path: Path) -> tuple[int, int]:
    with written_aside(path) as aside:
        figure.savefig(aside, format="webp", dpi=DOTS_PER_INCH, pil_kwargs={"quality": WEBP_QUALITY, "method": 4})
    width, height = figure.get_size_inches()
    return round(width * DOTS_PER_INCH), round(height * DOTS_PER_INCH)
