"""The figure of the importance of atlas regions, beside networks with random weights."""

from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.report.figures import BLUE, GREY, axes_of, legend_above

MOST = 15  # regions in the figure
HEIGHT_IN, PER_REGION_IN = 1.2, 0.27
RANDOM = "#d5dade"


def regions_figure(rows: pd.DataFrame, path: Path) -> int:
    """Draw the shares of the MOST regions with the largest ones, with intervals; return how many are drawn.

    Args:
        rows: Evaluated rows of regions.tsv.
        path: The SVG file.
    """
    shown = rows.sort_values("share", ascending=False).head(MOST).iloc[::-1]
    places = np.arange(len(shown))
    with axes_of(path, (6.4, HEIGHT_IN + PER_REGION_IN * len(shown))) as axes:
        low, high = (100 * shown[name].to_numpy(dtype=float) for name in ("random_low", "random_high"))
        axes.barh(places, high - low, left=low, height=0.8, color=RANDOM, label="random weights, 95 % interval")
        share = 100 * shown["share"].to_numpy(dtype=float)
        bars = np.stack([share - 100 * shown["share_low"], 100 * shown["share_high"] - share]).astype(float)
        axes.errorbar(
            share,
            places,
            xerr=np.abs(np.nan_to_num(bars)),
            fmt="o",
            color=BLUE,
            markersize=4.5,
            capsize=2,
            linewidth=1.3,
            label="trained networks",
        )
        axes.axvline(0, color=GREY, linewidth=0.7)
        axes.set_yticks(places, [str(name) for name in shown["name"]])
        axes.set(xlabel="Share of the changes of the prediction (%)")
        legend_above(axes)
    return len(shown)
