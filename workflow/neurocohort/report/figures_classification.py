"""The figures of a classification: ROC, precision-recall, reliability and decision curves, and the probabilities by class."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from sklearn.metrics import roc_curve

from neurocohort.report.figures import BLACK, BLUE, GREY, MARKERS, SERIES, axes_of, draw_points, legend_above

DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1, 1, 1)), (0, (8, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
UNIT = (-0.015, 1.015)  # limits of an axis of fractions


def roc_figure(curves: dict[str, pd.DataFrame], path: Path) -> None:
    """ROC curves (x, y, low, high; the first with its band) by label, the chance line in grey."""
    with axes_of(path, (4.9, 4.5)) as axes:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.9)
        _lines(axes, curves)
        axes.set(xlim=UNIT, ylim=UNIT, xlabel="1 − specificity", ylabel="Sensitivity", aspect="equal")
        legend_above(axes)


def precision_recall_figure(curves: dict[str, pd.DataFrame], prevalence: float, path: Path) -> None:
    """Precision against recall, as `roc_figure`; the grey line is the fraction of cases, which guessing reaches."""
    with axes_of(path, (4.9, 4.5)) as axes:
        axes.axhline(prevalence, color=GREY, linewidth=0.9)
        _lines(axes, curves)
        axes.set(xlim=UNIT, ylim=UNIT, xlabel="Recall (sensitivity)", ylabel="Precision (PPV)", aspect="equal")
        legend_above(axes)


def decision_figure(curves: dict[str, pd.DataFrame], treat_all: pd.DataFrame, path: Path) -> None:
    """Net benefit by threshold probability, next to calling everybody and nobody a case."""
    with axes_of(path, (4.9, 4.5)) as axes:
        axes.axhline(0, color=BLACK, linewidth=0.9, label="no one treated")
        axes.plot(treat_all["x"], treat_all["y"], color=GREY, linewidth=1.1, label="everyone treated")
        _lines(axes, curves)
        highest = max(0.05, *(float(table["y"].max()) for table in (*curves.values(), treat_all)))
        axes.set(xlim=UNIT, ylim=(-0.35 * highest, 1.12 * highest))
        axes.set(xlabel="Threshold probability", ylabel="Net benefit")
        legend_above(axes)


def reliability_figure(bins: pd.DataFrame, path: Path) -> None:
    """Fraction of cases against mean predicted probability of each bin, with its interval; the diagonal is calibration."""
    with axes_of(path, (4.9, 4.5)) as axes:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.9)
        x, y = bins["x"].to_numpy(dtype=float), bins["y"].to_numpy(dtype=float)
        reach = np.clip([y - bins["low"].to_numpy(dtype=float), bins["high"].to_numpy(dtype=float) - y], 0, None)
        axes.errorbar(x, y, yerr=reach, color=BLUE, marker="o", markersize=5, linewidth=1.2, capsize=3)
        for place, count in zip(x, bins["n"], strict=True):  # in a row of their own: no line runs through them
            axes.annotate(f"{int(count)}", (place, 1.03), xycoords=axes.get_xaxis_transform(), ha="center", fontsize=8)
        axes.set(xlim=UNIT, ylim=UNIT, xlabel="Mean predicted probability", ylabel="Fraction of cases", aspect="equal")


def classes_figure(curves: dict[str, pd.DataFrame], path: Path) -> None:
    """ROC curves by label from tables with target (0, 1) and prediction, the chance line in grey."""
    drawn = {}
    for label, table in curves.items():
        false_positive, true_positive, _ = roc_curve(table["target"].astype(int), table["prediction"])
        drawn[label] = pd.DataFrame({"x": false_positive, "y": true_positive})
    roc_figure(drawn, path)


def strip_by_class(predictions: pd.DataFrame, path: Path, classes: list[str], threshold: float) -> None:
    """The predicted probability of every scan by its true class, medians as bars, the ``threshold`` dotted."""
    with axes_of(path, (4.9, 4.5)) as axes:
        names = []
        for index, name in enumerate(classes):
            values = predictions.loc[predictions["target"] == index, "prediction"].to_numpy(dtype=float)
            _strip(axes, index, values, SERIES[index], MARKERS[index])
            names.append(f"{name}\n(n = {len(values)})")
        axes.axhline(threshold, color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlim=(-0.6, 1.6), ylim=(-0.03, 1.03), ylabel=f"Predicted probability of {classes[1]}")
        axes.set_xticks([0, 1], names)


def _strip(axes: Axes, centre: float, values: np.ndarray, colour: str, marker: str) -> None:
    if values.size:
        draw_points(axes, centre, values, colour, marker, width=0.22)
        axes.plot([centre - 0.3, centre + 0.3], [np.median(values)] * 2, color=BLACK, linewidth=1.6)


def _lines(axes: Axes, curves: dict[str, pd.DataFrame]) -> None:
    for index, (label, table) in enumerate(curves.items()):
        colour = SERIES[index % len(SERIES)]
        if index == 0 and "low" in table:
            axes.fill_between(table["x"], table["low"], table["high"], color=colour, alpha=0.16, linewidth=0)
        width = 2.0 if index == 0 else 1.3
        dash = DASHES[index % len(DASHES)]
        axes.plot(table["x"], table["y"], color=colour, linestyle=dash, linewidth=width, label=label)
