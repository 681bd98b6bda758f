"""The figures of a regression: predicted against true values, and the difference against true values."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from neurocohort.report import labels
from neurocohort.report.figures import BLACK, GREY, MARKERS, SERIES, axes_of, legend_above


def predicted_against_true(
    predictions: pd.DataFrame, path: Path, quantity: str, trained_range: tuple[float, float] | None
) -> None:
    """Predicted against true values with the identity line; ``trained_range`` marks the range of the training data."""
    with axes_of(path, (4.9, 4.5)) as axes:
        values = predictions[["target", "prediction"]].to_numpy(dtype=float)
        low, high = np.nanmin(values), np.nanmax(values)
        margin = 0.06 * (high - low or 1.0)
        limits = (low - margin, high + margin)
        if trained_range is not None:
            axes.axvspan(*trained_range, color="#eef2f5", zorder=0, linewidth=0)
        axes.plot(limits, limits, color=GREY, linewidth=0.9, zorder=1)
        _points_by_site(axes, predictions, "prediction")
        axes.set(xlim=limits, ylim=limits, xlabel=f"True {quantity}", ylabel=f"Predicted {quantity}", aspect="equal")
        if len(axes.get_legend_handles_labels()[1]) > 1:
            legend_above(axes, columns=3)


def difference_against_true(predictions: pd.DataFrame, path: Path, quantity: str) -> None:
    """Predicted minus true against the true value, with the zero line and a straight fit that shows shrinkage."""
    with axes_of(path, (4.9, 4.5)) as axes:
        axes.axhline(0, color=GREY, linewidth=0.9)
        table = predictions.assign(difference=predictions["prediction"] - predictions["target"])
        _points_by_site(axes, table, "difference")
        true = table["target"].to_numpy(dtype=float)
        if len(true) > 2 and np.ptp(true) > 0:
            slope, offset = np.polyfit(true, table["difference"].to_numpy(dtype=float), 1)
            ends = np.array([true.min(), true.max()])
            axes.plot(ends, slope * ends + offset, color=BLACK, linewidth=1.2, linestyle=(0, (4, 1.5)))
            axes.set_title(f"slope {labels.number(slope, 2)}")
        axes.set(xlabel=f"True {quantity}", ylabel=f"Predicted − true {quantity}")


def _points_by_site(axes: Axes, table: pd.DataFrame, column: str) -> None:
    """Points of ``column`` against the target, each site with its colour and marker."""
    for index, (site, group) in enumerate(table.groupby(table["site"].fillna("unknown"), sort=True)):
        look: dict[str, Any] = {
            "color": SERIES[index % len(SERIES)],
            "marker": MARKERS[index % len(MARKERS)],
            "s": 26,
            "alpha": 0.8,
        }
        label = f"{site} ({len(group)})"
        axes.scatter(group["target"], group[column], linewidths=0, label=label, **look)
