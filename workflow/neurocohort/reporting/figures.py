"""The report's figures, drawn from tables to SVG files whose bytes depend on the numbers alone.

Colours are those of Okabe and Ito, which stay apart for every kind of colour vision; shape or position always repeats
what a colour says. Text stays text, and takes the fonts of the page.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from neurocohort.files import write_text
from neurocohort.reporting import labels

BLACK, ORANGE, SKY, GREEN = "#1c1f23", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#767b82"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
SIZE_IN = (4.9, 3.8)
FONTS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"

STYLE = {
    "svg.hashsalt": "neurocohort",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the layout is the same on every machine
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.labelcolor": BLACK,
    "text.color": BLACK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Drawing:
    """An image of the page: its path relative to the page, what it shows for those who can't see it, its caption, and
    its size in CSS pixels."""

    file: str
    alt: str
    caption: str
    width: int
    height: int

    @classmethod
    def of(cls, path: Path, alt: str, caption: str) -> "Drawing":
        """The drawing of an SVG file in the page's folder ``figures``."""
        size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', path.read_text(encoding="utf-8")[:600])
        width, height = (round(float(points) * 4 / 3) for points in size.groups()) if size else (0, 0)
        return cls(f"figures/{path.name}", alt, caption, width, height)


def learning_curves(history: pd.DataFrame, path: Path) -> None:
    """Training and validation loss by epoch, with the epoch whose weights were kept."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes()
        for column, label, colour, dash in (
            ("train_loss", "training", BLUE, "-"),
            ("validation_loss", "validation", VERMILION, (0, (4, 1.5))),
        ):
            axes.plot(history["epoch"], history[column], color=colour, linestyle=dash, linewidth=1.6, label=label)
        best = history[history["best"] == 1].tail(1)
        if not best.empty:
            epoch, loss = float(best["epoch"].iloc[0]), float(best["validation_loss"].iloc[0])
            axes.axvline(epoch, color=GREY, linewidth=0.8, linestyle=":")
            axes.plot([epoch], [loss], "o", color=VERMILION, markersize=6, label=f"best epoch, {epoch:.0f}")
        axes.set(xlabel="Epoch", ylabel="Loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        positive = history[["train_loss", "validation_loss"]].to_numpy(dtype=float)
        positive = positive[np.isfinite(positive)]
        if positive.size and positive.min() > 0 and positive.max() > 20 * positive.min():
            axes.set_yscale("log")
        axes.legend(loc="upper right")
        _save(figure, path)


def predicted_against_true(
    predictions: pd.DataFrame, path: Path, quantity: str, trained_range: tuple[float, float] | None
) -> None:
    """Predicted against true values with the identity line; ``trained_range`` marks the range seen in training."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes((4.9, 4.5))
        values = predictions[["target", "prediction"]].to_numpy(dtype=float)
        low, high = np.nanmin(values), np.nanmax(values)
        margin = 0.06 * (high - low or 1.0)
        limits = (low - margin, high + margin)
        if trained_range is not None:
            axes.axvspan(*trained_range, color="#eef2f5", zorder=0, linewidth=0)
        axes.plot(limits, limits, color=GREY, linewidth=0.9, zorder=1)
        groups = list(predictions.groupby(predictions["site"].fillna("unknown"), sort=True))
        for index, (site, group) in enumerate(groups):
            axes.scatter(
                group["target"],
                group["prediction"],
                s=26,
                color=SERIES[index % len(SERIES)],
                marker=MARKERS[index % len(MARKERS)],
                alpha=0.8,
                linewidths=0,
                label=f"{site} ({len(group)})",
                zorder=2,
            )
        axes.set(xlim=limits, ylim=limits, xlabel=f"True {quantity}", ylabel=f"Predicted {quantity}", aspect="equal")
        if len(groups) > 1:
            axes.legend(loc="upper left", handletextpad=0.2, borderpad=0.1)
        _save(figure, path)


def difference_against_true(predictions: pd.DataFrame, path: Path, quantity: str) -> None:
    """Predicted minus true against the true value, with the zero line and a straight fit that shows shrinkage."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes((4.9, 4.5))
        axes.axhline(0, color=GREY, linewidth=0.9)
        true = predictions["target"].to_numpy(dtype=float)
        difference = predictions["prediction"].to_numpy(dtype=float) - true
        for index, (_, group) in enumerate(predictions.groupby(predictions["site"].fillna("unknown"), sort=True)):
            axes.scatter(
                group["target"],
                group["prediction"] - group["target"],
                s=26,
                color=SERIES[index % len(SERIES)],
                marker=MARKERS[index % len(MARKERS)],
                alpha=0.8,
                linewidths=0,
            )
        if len(true) > 2 and np.ptp(true) > 0:
            slope, offset = np.polyfit(true, difference, 1)
            ends = np.array([true.min(), true.max()])
            axes.plot(ends, slope * ends + offset, color=BLACK, linewidth=1.2, linestyle=(0, (4, 1.5)))
            axes.set_title(f"slope {labels.number(slope, 2)}")
        axes.set(xlabel=f"True {quantity}", ylabel=f"Predicted − true {quantity}")
        _save(figure, path)


def roc_curves(curves: dict[str, pd.DataFrame], path: Path) -> None:
    """ROC curves of the network and of the baselines on the same participants, the chance line in grey."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes((4.9, 4.5))
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.9)
        dashes = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1, 1, 1)))
        for index, (label, table) in enumerate(curves.items()):
            target = table["target"].astype(int)
            false_positive, true_positive, _ = roc_curve(target, table["prediction"])
            axes.plot(
                false_positive,
                true_positive,
                color=SERIES[index % len(SERIES)],
                linestyle=dashes[index % len(dashes)],
                linewidth=2.0 if index == 0 else 1.4,
                label=label,
            )
        axes.set(
            xlim=(-0.015, 1.015),
            ylim=(-0.015, 1.015),
            xlabel="1 − specificity",
            ylabel="Sensitivity",
            aspect="equal",
        )
        axes.legend(loc="lower right")
        _save(figure, path)


def strip_by_class(predictions: pd.DataFrame, path: Path, classes: tuple[str, str]) -> None:
    """The predicted probability of every scan by its true class, medians as bars."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes((4.9, 4.5))
        names = []
        for index, name in enumerate(classes):
            values = predictions.loc[predictions["target"] == index, "prediction"].to_numpy(dtype=float)
            _strip(axes, index, values, SERIES[index], MARKERS[index])
            names.append(f"{name}\n(n = {len(values)})")
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlim=(-0.6, 1.6), ylim=(-0.03, 1.03), ylabel=f"Predicted probability of {classes[1]}")
        axes.set_xticks([0, 1], names)
        _save(figure, path)


def dice_by_tissue(network: pd.DataFrame, baseline: pd.DataFrame | None, baseline_name: str, path: Path) -> None:
    """Boxplots of Dice by tissue with every scan as a point; the baseline beside it where there is one."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes()
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
                    _points(axes, index + offset, values, colour, marker, width=0.11)
            axes.plot([], [], marker=marker, color=colour, linestyle="none", label=label)
        axes.set_xticks(range(len(tissues)), tissues)
        axes.set(xlim=(-0.6, len(tissues) - 0.4), ylabel="Dice")
        lowest = min(table["dice"].min() for _, table, _, _ in sets)
        axes.set_ylim(max(0.0, np.floor(lowest * 10 - 0.5) / 10), 1.0)
        axes.legend(loc="lower left", ncols=2)
        _save(figure, path)


def volume_agreement(predictions: pd.DataFrame, path: Path) -> None:
    """Bland and Altman: difference of predicted and reference volume against their mean, by tissue, mean as a line."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes()
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
            axes.plot([middle.min(), middle.max()], [difference.mean()] * 2, color=colour, linewidth=1.2)
        axes.set(xlabel="Mean of predicted and reference volume (ml)", ylabel="Predicted − reference (ml)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=3, columnspacing=1.0, handletextpad=0.1)
        _save(figure, path)


def quality_overview(quality: pd.DataFrame, metrics: list[str], path: Path) -> None:
    """Every scan's quality numbers as robust scores, one strip a metric; nothing is clipped, outliers are larger."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes((SIZE_IN[0], 0.3 * len(metrics) + 0.9))
        axes.axvspan(-labels.OUTLIER_Z, labels.OUTLIER_Z, color="#eef2f5", linewidth=0, zorder=0)
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        for row, metric in enumerate(metrics):
            scores = quality[f"{metric}_z"].to_numpy(dtype=float)
            scores = scores[np.isfinite(scores)]
            heights = row + _spread(len(scores), 0.26)
            far = np.abs(scores) >= labels.OUTLIER_Z
            axes.scatter(scores[~far], heights[~far], s=13, color=BLUE, alpha=0.65, linewidths=0, zorder=2)
            axes.scatter(scores[far], heights[far], s=34, color=VERMILION, marker="D", linewidths=0, zorder=3)
        axes.set_yticks(range(len(metrics)), [labels.quality(metric) for metric in metrics])
        axes.set(xlabel="Robust score: 0 is the site's median, grey ±3.5")
        axes.set_ylim(len(metrics) - 0.5, -0.5)
        widest = max(4.5, float(np.nanmax(quality[[f"{metric}_z" for metric in metrics]].abs().to_numpy(dtype=float))))
        if widest > 12:  # one far scan must not press all others into a line: beyond the band the scale is logarithmic
            axes.set_xscale("symlog", linthresh=5, linscale=2)
            ticks = [tick for tick in (5, 20, 100, 1_000, 10_000) if tick <= widest]
            axes.set_xticks([-tick for tick in reversed(ticks)] + [0] + ticks)
            axes.xaxis.set_major_formatter(lambda value, _: labels.number(value, 0))
            axes.minorticks_off()
        reach = widest * (1.6 if widest > 12 else 1.1)
        axes.set_xlim(-reach, reach)
        _save(figure, path)


def _axes(size: tuple[float, float] = SIZE_IN) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def _strip(axes: Axes, centre: float, values: np.ndarray, colour: str, marker: str) -> None:
    if values.size:
        _points(axes, centre, values, colour, marker, width=0.22)
        axes.plot([centre - 0.3, centre + 0.3], [np.median(values)] * 2, color=BLACK, linewidth=1.6)


def _points(axes: Axes, centre: float, values: np.ndarray, colour: str, marker: str, width: float) -> None:
    places = centre + _spread(len(values), width)
    axes.scatter(places, values, s=22, color=colour, marker=marker, alpha=0.75, linewidths=0, zorder=3)


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


def _spread(count: int, width: float) -> np.ndarray:
    """Places in [-width, width] that keep points apart: the golden ratio's low-discrepancy sequence, not a draw."""
    return width * (2 * ((np.arange(count) * 0.6180339887) % 1.0) - 1)


def _save(figure: Figure, path: Path) -> None:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", text, flags=re.DOTALL)  # names an address, which no reader needs
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    write_text(path, text.replace("'DejaVu Sans'", FONTS))
