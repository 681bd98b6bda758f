"""The figure of a saliency map next to that of a network with random weights, both over the mean image, as WebP."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from neurocohort.files import written_aside
from neurocohort.report.figures import STYLE

PLANES = (("Axial", 2), ("Coronal", 1), ("Sagittal", 0))
PLACES = (0.35, 0.5, 0.65)  # of the brain's extent along each axis
COLOURS = "plasma"  # no grey, and lightness rises evenly: the order is visible with every kind of colour vision
BRIGHTEST = 0.62  # of white, for the mean image: the light end of the colours must stand out from it
FAINTEST = 0.15  # of the maximum; below it the mean image shows alone
SIZE_IN, DOTS_PER_INCH, WEBP_QUALITY = (7.2, 4.3), 125, 82
INK = "#1c1f23"


def saliency_figure(
    network: np.ndarray, random: np.ndarray, mean_image: np.ndarray, mask: np.ndarray, path: Path
) -> tuple[int, int]:
    """Draw both maps (X, Y, Z; 0 to 1) over ``mean_image`` in the same slices of three planes; return width and height in pixels.

    ``mask`` (X, Y, Z; bool) is the brain. Superior or anterior is up and the left of the picture is the left of the head.
    """
    style = STYLE | {"figure.facecolor": "white"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=SIZE_IN, layout="constrained", dpi=DOTS_PER_INCH)
        blocks: Any = figure.subfigures(1, 3, width_ratios=(1, 1, 0.17))
        high = float(np.percentile(mean_image[mask], 99.5)) if mask.any() else float(mean_image.max())
        drawn: Any = None
        for block, title, values in (
            (blocks[0], "Trained network", network),
            (blocks[1], "Random weights", random),
        ):
            block.suptitle(title, fontsize=11, color=INK)
            grid = block.subplots(len(PLANES), len(PLACES))
            for (plane, axis), row in zip(PLANES, grid, strict=True):
                for index, axes in zip(_slices(mask, axis), row, strict=True):
                    flat = [np.take(data, index, axis=axis).T for data in (mean_image, values)]
                    axes.imshow(flat[0], cmap="gray", vmin=0, vmax=(high or 1.0) / BRIGHTEST, origin="lower")
                    shown = np.ma.masked_less(flat[1], FAINTEST)
                    drawn = axes.imshow(
                        shown, cmap=COLOURS, vmin=0, vmax=1, alpha=np.clip(flat[1] * 1.2, 0, 0.9), origin="lower"
                    )
                    axes.set(xticks=[], yticks=[])
                    axes.spines[:].set_visible(False)
                row[0].set_ylabel(plane, fontsize=9, color=INK)
        scale = matplotlib.cm.ScalarMappable(norm=drawn.norm, cmap=COLOURS)
        bar = figure.colorbar(scale, cax=blocks[2].add_axes((0.05, 0.08, 0.22, 0.78)))
        bar.ax.tick_params(labelsize=8.5, labelcolor=INK)
        with written_aside(path) as aside:
            figure.savefig(aside, format="webp", dpi=DOTS_PER_INCH, pil_kwargs={"quality": WEBP_QUALITY, "method": 4})
    return round(SIZE_IN[0] * DOTS_PER_INCH), round(SIZE_IN[1] * DOTS_PER_INCH)


def _slices(mask: np.ndarray, axis: int) -> list[int]:
    present = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
    first, last = (present[0], present[-1]) if len(present) else (0, mask.shape[axis] - 1)
    return [round(first + place * (last - first)) for place in PLACES]
