"""Translations on the page: how close predicted images are to the true ones, whether that is a gain, and a few slices."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neurocohort.evaluation.metrics import HIGHER_IS_BETTER
from neurocohort.evaluation.translation import METRICS, NETWORK
from neurocohort.evaluation.translation_baselines import BASELINES
from neurocohort.files import written_aside
from neurocohort.report import labels, tables
from neurocohort.report.figures import STYLE, Drawing
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment, Study
from neurocohort.report.tables import N_COUNTS, Cell, Column, Row, Table
from neurocohort.report.training import Training, learning
from neurocohort.settings.translation import UNPAIRED
from neurocohort.text import listed

LEAD = "psnr"  # the metric of the sentence
SHOWN = {name: (labels.metric(name).label, labels.metric(name).decimals) for name in METRICS}
SHOWN["mae"] = (SHOWN["mae"][0], 4)  # of intensities from 0 to 1
MODELS = dict(zip(BASELINES, ("mean image", "intensity", "intensity and place"), strict=True)) | {NETWORK: "network"}
PARTS = {"held-out": "held-out participant", "external": "external participant"}
WIDTH_IN, ROW_IN, DOTS_PER_INCH, WEBP_QUALITY = 7.2, 1.9, 125, 85


@dataclass(frozen=True)
class TranslationShown:
    """A translation on the page. ``sentences``: what it learned from and whether it is a gain; ``runs``: its trainings."""

    title: str
    sentences: list[str]
    table: Table | None
    mosaic: Drawing | Missing
    runs: list[Training]
    missing: list[Missing]


def translations(study: Study, output: Path) -> list[TranslationShown]:
    """The translations of a study. Their figures are written into the report's folder ``figures``."""
    return [_shown(one, output) for one in study.translations.values()]


def _shown(one: Experiment, output: Path) -> TranslationShown:
    found = one.translation
    sentences, table, missing = [_learned_from(one)], None, [item for item in (found,) if isinstance(item, Missing)]
    if not isinstance(found, Missing):
        for (cohort, part), rows in found.groupby(["cohort", "part"], sort=True):
            sentences.append(_gain(rows, labels.cohort(str(cohort)), str(part)))
        table = _table(found)
    return TranslationShown(one.heading, sentences, table, mosaic(one, output), learning(one, output), missing)


def _learned_from(one: Experiment) -> str:
    source, target = listed(one.settings["modalities"]), one.target
    if (one.settings.get("translation") or {}).get("method") == UNPAIRED:
        return (
            f"The network predicts {target} from {source}. It learned from images of different people "
            "of the training part, and from "
            "no pair of images of one person."
        )
    return (
        f"The network predicts {target} from {source}. It learned from both images of the people of the training part."
    )


def _gain(rows: pd.DataFrame, cohort: str, part: str) -> str:
    """The network minus the best baseline in words, and whether that is a gain."""
    label, decimals = SHOWN[LEAD]
    own = tables.first(rows[rows["metric"] == LEAD], model=NETWORK)
    best = tables.first(rows[rows["metric"] == LEAD], best="yes")
    if own is None or best is None:
        return f"The predicted images of {cohort} can't be compared with those of a baseline."
    people = labels.counted(int(own["n"]), PARTS.get(part, "participant"))
    about = (
        f"Inside the brain of {people} of {cohort}, the {label} is {labels.number(own['value'], decimals)} "
        f"{labels.interval(own['ci_low'], own['ci_high'], decimals)}, and that of the best baseline "
        f"({MODELS[str(best['model'])]}) "
        f"{labels.number(best['value'], decimals)}"
    )
    value, low, high = (best[f"difference{end}"] for end in ("", "_low", "_high"))
    if not labels.is_number(value) or not labels.is_number(low):
        return f"{about}. Whether this is a gain can't be stated, since the difference has no interval."
    if low <= 0 <= high:
        decided = "The interval includes 0: no gain over the baseline is shown."
    elif value > 0:
        decided = "The interval excludes 0: this is a gain."
    else:
        decided = "The interval excludes 0: the network was worse than the baseline."
    return (
        f"{about}. The difference is {labels.number(value, decimals)} {labels.interval(low, high, decimals)}. {decided}"
    )


def _table(found: pd.DataFrame) -> Table:
    lines = []
    for (cohort, part, model), group in found.groupby(["cohort", "part", "model"], sort=False):
        records = {str(row["metric"]): row for _, row in group.iterrows()}
        cells = [Cell(f"{labels.cohort(str(cohort))}, {part}", right=False)]
        cells += [_value_cell(records[name], name) for name in METRICS]
        lead = records[LEAD]
        note = "best baseline" if lead["best"] == "yes" else ""
        limits = labels.interval(lead["difference_low"], lead["difference_high"], SHOWN[LEAD][1])
        cells += [Cell(labels.number(lead["difference"], SHOWN[LEAD][1]), limits, note=note), Cell(str(int(lead["n"])))]
        lines.append(Row(MODELS[str(model)], cells, own=model == NETWORK))
    return Table(
        "Predicted images compared with the true ones inside the brain. Intensities are the "
        "preprocessed ones, from 0 to 1, so that the "
        "dynamic range is 1. The baselines are the mean image of the development part, and "
        "regressions of a voxel's intensity without "
        "and with the mean images at its place. The last difference is the network minus the "
        "baseline, from a paired bootstrap of "
        f"participants. {tables.intervals_explained(found)} {N_COUNTS}",
        [Column("Model", right=False), Column("Cohort", right=False)]
        + [Column(SHOWN[name][0], HIGHER_IS_BETTER[name]) for name in METRICS]
        + [Column(f"network minus it, {SHOWN[LEAD][0]}"), Column("n")],
        lines,
    )


def _value_cell(row: pd.Series, name: str) -> Cell:
    places = SHOWN[name][1]
    found = labels.interval(row["ci_low"], row["ci_high"], places)
    mark = tables.MARKS.get(row["interval"], ("", ""))[0] if found else ""
    return Cell(labels.number(row["value"], places), found, mark, value=tables.number_of(row["value"]))


def mosaic(one: Experiment, output: Path) -> Drawing | Missing:
    """Slices of a few tested people: the source, the prediction, the true image and their absolute difference."""
    source, what = one.folder / "examples.npz", f"the predicted images of {one.name}"
    if not source.is_file():
        return one.sources.lack(source, what)
    with np.load(source) as stored:
        slices = stored["slices"]
    headings = (str(one.settings["modalities"][0]), f"predicted {one.target}", f"true {one.target}", "difference")
    path = output / "figures" / f"{one.name}_translation.webp"
    size = _draw(slices, headings, path)
    return Drawing(
        f"figures/{path.name}",
        f"Axial slices of {labels.counted(len(slices), 'tested scan')}: {listed(headings)}.",
        f"{one.heading}: an axial slice of {labels.counted(len(slices), 'tested scan')}, the first "
        "by name. Intensities from 0 (black) to 1 "
        "(white); the difference is absolute and drawn three times as bright. Look for structures in the difference.",
        *size,
    )


def _draw(slices: np.ndarray, headings: tuple[str, ...], path: Path) -> tuple[int, int]:
    """Draw the slices (scans, 4, X, Y) uint8; return width and height in pixels."""
    size = (WIDTH_IN, ROW_IN * len(slices))
    with matplotlib.rc_context(STYLE | {"figure.facecolor": "white"}):
        figure = Figure(figsize=size, layout="constrained", dpi=DOTS_PER_INCH)
        grid = figure.subplots(len(slices), len(headings), squeeze=False)
        for number, (row, images) in enumerate(zip(grid, slices, strict=True)):
            for axes, image, heading in zip(row, images, headings, strict=True):
                axes.imshow(image.T, cmap="gray", vmin=0, vmax=85 if heading == "difference" else 255, origin="lower")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                if number == 0:
                    axes.set_title(heading)
        with written_aside(path) as aside:
            figure.savefig(aside, format="webp", dpi=DOTS_PER_INCH, pil_kwargs={"quality": WEBP_QUALITY, "method": 4})
    return round(size[0] * DOTS_PER_INCH), round(size[1] * DOTS_PER_INCH)
