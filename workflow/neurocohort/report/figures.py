"""The report's figures, drawn from tables to SVG files whose bytes depend on the numbers alone.

The colours are those of Okabe and Ito, which can be distinguished with every kind of colour vision; shape or position always
repeats the meaning of a colour. Text stays text, in the fonts of the page.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from neurocohort.dataset.quality_flags import is_flag
from neurocohort.files import write_text
from neurocohort.report import labels

BLACK, ORANGE, SKY, GREEN = "#1c1f23", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#767b82"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
SIZE_IN = (4.9, 3.8)
FONTS = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"

STYLE: dict[Any, Any] = {
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
    """An image of the page: its path relative to the page, a description for readers who can't see it, its caption, and
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
    with axes_of(path) as axes:
        for column, label, colour, dash in (
            ("train_loss", "training", BLUE, "-"),
            ("validation_loss", "validation", VERMILION, (0, (4, 1.5))),
        ):
            axes.plot(history["epoch"], history[column], color=colour, linestyle=dash, linewidth=1.6, label=label)
        best = history[history["best"] == 1].tail(1)
        if not best.empty:
            epoch, loss = float(best["epoch"].iloc[0]), float(best["validation_loss"].iloc[0])
            axes.axvline(epoch, color=GREY, linewidth=0.8, linestyle=":")
            axes.plot([epoch], [loss], "o", color=VERMILION, markersize=6, label=f"epoch kept, {epoch:.0f}")
        axes.set(xlabel="Epoch", ylabel="Loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        positive = history[["train_loss", "validation_loss"]].to_numpy(dtype=float)
        positive = positive[np.isfinite(positive)]
        if positive.size and positive.min() > 0 and positive.max() > 20 * positive.min():
            axes.set_yscale("log")
        legend_above(axes, columns=3)


def quality_overview(quality: pd.DataFrame, metrics: list[str], path: Path) -> None:
    """Every scan's quality numbers as robust scores, one strip a metric; nothing is clipped, and possible faults are
    larger."""
    with axes_of(path, (SIZE_IN[0], 0.3 * len(metrics) + 0.9)) as axes:
        axes.axvspan(-labels.OUTLIER_Z, labels.OUTLIER_Z, color="#eef2f5", linewidth=0, zorder=0)
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
        for row, metric in enumerate(metrics):
            scores = quality[f"{metric}_z"].to_numpy(dtype=float)
            scores = scores[np.isfinite(scores)]
            heights = row + spread_places(len(scores), 0.26)
            far = np.array([is_flag(metric, score, labels.OUTLIER_Z) for score in scores], dtype=bool)
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


@contextmanager
def axes_of(path: Path, size: tuple[float, float] = SIZE_IN) -> Iterator[Axes]:
    """The axes of a new figure, which is saved to ``path`` at the end; ``size``: in inches."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure.add_subplot()
        _save(figure, path)


def legend_above(axes: Axes, columns: int = 2) -> None:
    """The legend over the axes, where it covers no curve and no point."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, columnspacing=1.0, handlelength=1.6)


def draw_points(axes: Axes, centre: float, values: np.ndarray, colour: str, marker: str, width: float) -> None:
    places = centre + spread_places(len(values), width)
    axes.scatter(places, values, s=22, color=colour, marker=marker, alpha=0.75, linewidths=0, zorder=3)


def spread_places(count: int, width: float) -> np.ndarray:
    """Places in [-width, width] that separate points: the golden ratio's low-discrepancy sequence, not random."""
    return width * (2 * ((np.arange(count) * 0.6180339887) % 1.0) - 1)


def _save(figure: Figure, path: Path) -> None:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", text, flags=re.DOTALL)  # names an address, which no reader needs
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    write_text(path, text.replace("'DejaVu Sans'", FONTS))
