"""The figures of a segmentation: Dice by tissue, and the agreement of volumes."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from neurocohort.report import labels
from neurocohort.report.figures import BLACK, BLUE, GREY, MARKERS, SERIES, axes_of, draw_points, legend_above

MOST_UPRIGHT = 4  # names below an axis
LIMIT = 1.96  # standard deviations: 95 of 100 differences, where they are normal


def dice_by_tissue(network: pd.DataFrame, baseline: pd.DataFrame | None, baseline_name: str, path: Path) -> None:
    """Boxplots of Dice by tissue with every scan as a point; next to those of the baseline, if any."""
    with axes_of(path) as axes:
        tissues = list(dict.fromkeys(network["tissue"]))
        sets = [("Network", network, BLUE, "o")]
        if baseline is not None and not baseline.empty:
            sets.append((baseline_name, baseline, GREY, "s"))
        offsets = (0.0,) if len(sets) == 1 else (-0.2, 0.2)
        for (label, table, colour, marker), offset in zip(sets, offsets, strict=True):
            for index, tissue in enumerate(tissues):
                values = table.loc[table["tissue"] == tissue, "dice"].dropna().to_numpy(dtype=float)
                if values.size:
                    _box(axes, index + offset, values, colour)
                    draw_points(axes, index + offset, values, colour, marker, width=0.11)
            axes.plot([], [], marker=marker, color=colour, linestyle="none", label=label)
        many = len(tissues) > MOST_UPRIGHT
        axes.set_xticks(range(len(tissues)), tissues, rotation=35 * many, ha="right" if many else "center")
        axes.set(xlim=(-0.6, len(tissues) - 0.4), ylabel="Dice")
        lowest = np.nanmin([*(table["dice"].min() for _, table, _, _ in sets), 1.0])
        axes.set_ylim(max(0.0, np.floor(lowest * 10 - 0.5) / 10), 1.0)
        legend_above(axes)


def volume_agreement(predictions: pd.DataFrame, path: Path) -> None:
    """Bland and Altman: difference of predicted and reference volume against their mean, by tissue; the mean as a line,
    the limits of agreement (1.96 standard deviations to either side) dotted."""
    with axes_of(path) as axes:
        axes.axhline(0, color=GREY, linewidth=0.9)
        for index, (tissue, group) in enumerate(predictions.groupby("tissue", sort=False)):
            middle = (group["volume_ml"] + group["reference_ml"]) / 2
            difference = group["volume_ml"] - group["reference_ml"]
            colour = SERIES[index % len(SERIES)]
            axes.scatter(
                middle,
                difference,
                s=24,
                color=colour,
                marker=MARKERS[index % len(MARKERS)],
                alpha=0.8,
                linewidths=0,
                label=f"{tissue}: {labels.number(difference.mean(), 1)} ± {difference.std():.1f} ml",
            )
            ends = [middle.min(), middle.max()]
            axes.plot(ends, [difference.mean()] * 2, color=colour, linewidth=1.2)
            for side in (-1, 1):
                limit = difference.mean() + side * LIMIT * difference.std()
                axes.plot(ends, [limit] * 2, color=colour, linewidth=1.0, linestyle=(0, (1, 1.5)))
        axes.set(xlabel="Mean of predicted and reference volume (ml)", ylabel="Predicted − reference (ml)")
        legend_above(axes, columns=3)


def _box(axes: Axes, centre: float, values: np.ndarray, colour: str) -> None:
    line = {"color": colour, "linewidth": 1.1}
    axes.boxplot(
        values,
        positions=[centre],
        widths=0.3,
        showfliers=False,
        boxprops=line,
        whiskerprops=line,
        capprops=line,
        medianprops={"color": BLACK, "linewidth": 1.6},
        manage_ticks=False,
    )
