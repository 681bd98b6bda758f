"""Held-out scans with a changed target on the page: whether the prediction moves as asked, next to random weights."""

import zipfile
from typing import Any

import numpy as np
import pandas as pd

from neurocohort.evaluation.counterfactual import (
    ASKED_CHANGE,
    BRAIN,
    CHANGED,
    DIRECTION,
    IDENTIFIED,
    IMAGE_CHANGE,
    LEFT_OUT,
    MEAN_IMAGE,
    PER_UNIT,
    PREDICTION,
    RANDOM_MODELS,
    RANDOM_NETWORKS,
    REACHED,
    RECONSTRUCTION,
    SCANS,
    SHIFT,
    STEADINESS,
    TRAINED,
    VOXEL_ERROR,
)
from neurocohort.report import labels, tables
from neurocohort.report.figures import Drawing
from neurocohort.report.figures_generation import Shown, counterfactual_figure
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import N_COUNTS, Cell, Column, Row, Table

HALF = 0.5  # of the changes are in the asked direction by chance
PERCENT = 100
ARRAYS = ("images", "target", "change", "differences")
COLUMNS = (PER_UNIT, DIRECTION, STEADINESS, IMAGE_CHANGE)
COMPARED = (DIRECTION, STEADINESS, IMAGE_CHANGE)


def counterfactual(part: Part, content: Content) -> None:
    """Put sentences, figure and table into ``content``; nothing for an experiment without counterfactual images."""
    found = part.experiment.counterfactual
    if found is None:
        return
    if isinstance(found, Missing):
        content.details.append(found)
        return
    content.sentences.append(_asked(part, found))
    if (found["question"] == PREDICTION).any():
        content.sentences += [_moved(found), _steadiness(found), _images(found), _brain(part, found)]
        content.details.append(_table(found))
    else:
        content.sentences.append(f"Whether the prediction moves as asked can't be said. {tables.note_of(found)}")
    content.sentences.append(
        f"The changed images are generated. They are the model's idea of another {part.target}, not a prediction of how a "
        "person would change. Model and network learned from the same scans, so that their agreement shows what they share. "
        "Intervals are over participants and random weights, and don't cover other trainings of the model or the network."
    )
    if (drawing := _figure(part)) is not None:
        content.figures.append(drawing)


def _asked(part: Part, found: pd.DataFrame) -> str:
    """What was changed, and in how many directions it could not be."""
    scans, change, left_out = (_value(found, name, TRAINED) for name in (SCANS, ASKED_CHANGE, LEFT_OUT))
    done = (
        f"The generative model changed the {part.target} of {labels.counted(int(scans), 'held-out scan')} by "
        f"{labels.number(change, 1)}{part.unit}, down and up."
    )
    if not left_out:
        return done
    return f"{done} {int(left_out)} of {2 * int(scans)} changes were left out: they end outside the range of the training scans."


def _moved(found: pd.DataFrame) -> str:
    """Whether the prediction moved in the asked direction, more often than that of random networks."""
    slope, own, random = (
        _row(found, *one) for one in ((PER_UNIT, TRAINED), (DIRECTION, TRAINED), (DIRECTION, RANDOM_NETWORKS))
    )
    if own["ci_low"] > HALF and random["difference_low"] > 0:
        decided = "It moved as asked, and more often so than in networks with random weights."
    elif own["ci_low"] > HALF:
        decided = (
            "It moved as asked more often than by chance. A difference to networks with random weights isn't shown."
        )
    elif own["ci_high"] < HALF:
        decided = "It moved as asked less often than by chance."
    else:
        decided = "It is not shown to have moved as asked more often than by chance."
    if slope["ci_high"] < 1:
        size = "By its size it moved less than asked."
    elif slope["ci_low"] > 1:
        size = "By its size it moved more than asked."
    else:
        size = "By its size it may have moved as far as asked."
    reached = _row(found, REACHED, RANDOM_NETWORKS)
    networks = int(reached["n"])
    return (
        f"The prediction moved by {tables.with_interval(slope)} for each unit that was asked for, 1 being exactly as asked, and "
        f"in the asked direction in {_percent(own)} of the changed images; in networks with random weights in {_percent(random)} "
        f"(difference {_points(random)}). {decided} {size} "
        f"{round(reached['value'] * networks)} of {networks} networks with random weights moved as asked at least as often."
    )


def _steadiness(found: pd.DataFrame) -> str:
    """Whether the trained network moves more steadily than random networks do in their better direction."""
    own, random = (_row(found, STEADINESS, model) for model in (TRAINED, RANDOM_NETWORKS))
    if random["difference_low"] > 0:
        decided = "So it follows the changes more steadily than networks that learned nothing."
    elif random["difference_high"] < 0:
        decided = "So networks that learned nothing follow the changes more steadily."
    else:
        decided = "So networks that learned nothing may follow the changes as steadily, and only the direction could be learned."
    return (
        f"The correlation of asked and predicted changes (through the origin) is {tables.with_interval(own)}; in networks with "
        f"random weights, whose sign means nothing and is ignored, {tables.with_interval(random)} (difference "
        f"{_difference(random)}). {decided}"
    )


def _images(found: pd.DataFrame) -> str:
    """Whether the conditions change the images of the trained model more than those of a random one."""
    own, random = (_row(found, IMAGE_CHANGE, model) for model in (TRAINED, RANDOM_MODELS))
    if random["difference_low"] > 0:
        decided = "Training made the images depend more on it."
    elif random["difference_high"] < 0:
        decided = "Training made the images depend less on it."
    else:
        decided = "That training made the images depend more on it isn't shown."
    return (
        f"Another target changes a voxel of the brain by {tables.with_interval(own)} levels of 255 on average, and with random "
        f"diffusion weights by {tables.with_interval(random)} (difference {_difference(random)}). {decided}"
    )


def _brain(part: Part, found: pd.DataFrame) -> str:
    """Whether the images are of the same brain."""
    own, mean = _row(found, VOXEL_ERROR, RECONSTRUCTION), _row(found, VOXEL_ERROR, MEAN_IMAGE)
    shift = tables.with_interval(_row(found, SHIFT, RECONSTRUCTION), part.unit)
    shares = [_percent(_row(found, IDENTIFIED, model)) for model in (RECONSTRUCTION, CHANGED)]
    if own["difference_high"] < 0:
        decided = "The reconstruction is nearer to the scan than an average brain is."
    elif own["difference_low"] > 0:
        decided = (
            "The reconstruction is farther from the scan than an average brain is: the images aren't of that brain."
        )
    else:
        decided = "The reconstruction isn't shown to be nearer to the scan than an average brain: the images may be of nobody."
    return (
        f"With its own target, the reconstruction differs from the scan by {tables.with_interval(own)} levels inside the brain, "
        f"the mean training scan by {tables.with_interval(mean)}. {decided} The prediction for it differs by {shift} on average. "
        f"The nearest scan is one of the same person for {shares[0]} of the reconstructions and {shares[1]} of the changed "
        "images."
    )


def _row(found: pd.DataFrame, metric: str, model: str) -> pd.Series:
    return found[(found["metric"] == metric) & (found["model"] == model)].iloc[0]


def _value(found: pd.DataFrame, metric: str, model: str) -> float:
    return float(_row(found, metric, model)["value"])


def _percent(row: pd.Series) -> str:
    value, low, high = (labels.number(PERCENT * row[name], 0) for name in ("value", "ci_low", "ci_high"))
    return f"{value} % [{low}, {high}]"


def _points(row: pd.Series) -> str:
    low, high = (PERCENT * row[f"difference_{end}"] for end in ("low", "high"))
    return f"{labels.number(PERCENT * row['difference'], 0)} points {labels.interval(low, high, 0)}"


def _difference(row: pd.Series) -> str:
    places = labels.metric(row["metric"]).decimals
    limits = labels.interval(row["difference_low"], row["difference_high"], places)
    return f"{labels.number(row['difference'], places)} {limits}"


def _figure(part: Part) -> Drawing | Missing | None:
    """Some scans, what the model makes of them, and the mean differences; None if no scan has both directions."""
    experiment = part.experiment
    path, what = experiment.folder / "generation" / "counterfactual.npz", f"the changed images of {experiment.name}"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return experiment.sources.lack(path, what, f"The file can't be read: {error}.")
    if not len(arrays["images"]):
        return None
    change = f"{labels.number(float(arrays['change']), 0)}{part.unit}"
    own = [f"{part.target} {labels.number(value, 0)}" for value in arrays["target"]]
    file = part.output / "figures" / f"{experiment.name}_counterfactual.webp"
    columns = ("Scan", "Reconstruction", f"− {change}", f"+ {change}")
    size = counterfactual_figure(Shown(arrays["images"], arrays["differences"], own, columns), file)
    return Drawing(
        f"figures/{file.name}",
        f"Held-out scans ({', '.join(own)}), their reconstructions by the generative model, and the same with a value of "
        f"{part.target} that is {change} lower and higher; below, the mean differences to the reconstructions.",
        "Only the first column are scans, the others are generated: an axial slice of "
        f"{labels.counted(len(own), 'held-out scan')} as the model reconstructs it with its own {part.target}, and with "
        f"{change} less and more. The last row is the mean difference to the reconstruction over all changed scans. Look whether "
        "ventricles and surface change, and whether the reconstruction is still that brain.",
        *size,
    )


def _table(found: pd.DataFrame) -> Table:
    """The measures of the trained weights, and of random ones with the difference to the trained ones."""
    columns = [Column("Weights", right=False)]
    columns += [tables.metric_column(name) for name in COLUMNS]
    columns += [Column(f"Difference, {labels.metric(name).label.lower()}") for name in COMPARED]
    rows = found[found["question"] != BRAIN]
    lines = []
    for model in (TRAINED, RANDOM_NETWORKS, RANDOM_MODELS):
        records = {row["metric"]: row for _, row in rows[rows["model"] == model].iterrows()}
        cells = [tables.number_cell(records.get(name), name) for name in COLUMNS]
        cells += [
            Cell(_difference(records[name])) if model != TRAINED and name in records else Cell("–") for name in COMPARED
        ]
        lines.append(Row(labels.spaced(model), [*cells, Cell(str(int(records[DIRECTION]["n"])))]))
    return Table(
        "What another target changes: the prediction by unit of the asked change; the fraction of images whose prediction moved "
        "as asked; the correlation of asked and predicted changes through the origin, of random weights without its sign; and "
        "the mean absolute change of a voxel inside the brain, in levels of 255. Random generative models have random diffusion "
        f"weights and the trained autoencoder. Differences are trained minus random. {tables.intervals_explained(rows)} "
        f"{N_COUNTS}",
        [*columns, Column("n")],
        lines,
        "Held-out scans with a changed target, next to random weights.",
    )
