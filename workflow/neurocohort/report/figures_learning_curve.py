"""The figure of a learning curve over the number of own participants."""

from pathlib import Path

import numpy as np
import pandas as pd

from neurocohort.evaluation.learning_curve import APPLIED, FINE_TUNED, RANDOM
from neurocohort.report.figures import BLUE, GREY, VERMILION, axes_of, legend_above


def learning_curve_figure(rows: pd.DataFrame, path: Path, quantity: str) -> None:
    """Values with intervals against the number of participants for each start; applied without training is a line across.

    Args:
        rows: Rows of learning_curve.tsv of one metric.
        path: The SVG file.
        quantity: The label of the axis of values.
    """
    with axes_of(path) as axes:
        numbers = sorted({int(number) for number in rows["participants"] if number})
        applied = rows[(rows["start"] == APPLIED) & rows["value"].notna()]
        if len(applied):
            one = applied.iloc[0]
            axes.axhspan(one["ci_low"], one["ci_high"], color="#eef2f5", linewidth=0, zorder=0)
            axes.axhline(one["value"], color=GREY, linewidth=1.2, linestyle="--", zorder=1, label="applied")
        looks = ((FINE_TUNED, "fine-tuned", BLUE, "o", -0.06), (RANDOM, "random weights", VERMILION, "s", 0.06))
        for start, label, colour, marker, shift in looks:
            own = rows[rows["start"] == start].sort_values("participants")
            values = own[["value", "ci_low", "ci_high"]].to_numpy(dtype=float)
            places = np.array([numbers.index(int(number)) for number in own["participants"]]) + shift
            bars = np.abs(np.nan_to_num(np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]])))
            axes.errorbar(
                places, values[:, 0], bars, color=colour, marker=marker, linewidth=1.4, capsize=2, label=label
            )
        axes.set_xticks(range(len(numbers)), [str(number) for number in numbers])
        axes.set(xlabel="Own participants in training and validation", ylabel=quantity)
        legend_above(axes, columns=3)
