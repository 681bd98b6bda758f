"""Generated images on the page: what a network learns from them, whether they are copies, how far they are from scans."""

import zipfile
from typing import Any

import numpy as np
import pandas as pd

from neurocohort.evaluation.generation import (
    COPIES,
    DISTANCE,
    DISTRIBUTION,
    GENERATED,
    HELD_OUT,
    MMD,
    NEAR_COPIES,
    NEARER,
    PERCENT,
    TRAINING,
    USE,
)
from neurocohort.report import labels, tables
from neurocohort.report.figures import Drawing
from neurocohort.report.figures_generation import generated_figure
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import N_COUNTS, Cell, Column, Row, Table

MMD_DECIMALS, LEVEL_DECIMALS = 4, 1
ARRAYS = ("images", "target", "sex")


def generation(part: Part, content: Content) -> None:
    """Put sentences, figure and table into ``content``; nothing for an experiment without a generative model."""
    found = part.experiment.generation
    if found is None:
        return
    if isinstance(found, Missing):
        content.details.append(found)
        return
    content.sentences.append(
        f"A generative model of the training scans made images of a given {part.target} and sex. They are of no person, and no "
        "other result of this report uses them."
    )
    content.sentences += [_use(part, found), _copies(found), _distribution(found)]
    content.figures.append(_figure(part))
    if (found["question"] == USE).any():
        content.details.append(_table(part, found))


def _use(part: Part, found: pd.DataFrame) -> str:
    """The network from generated images minus that from scans, in words."""
    name = part.headline_metric
    row = tables.first(found[found["metric"] == name], question=USE, model=GENERATED)
    if row is None:
        return "Fewer than three held-out participants: what a network learns from generated images can't be measured."
    described, unit = labels.metric(name), labels.metric_unit(name, part.experiment.target)
    low, high = row["difference_low"], row["difference_high"]
    if not labels.is_number(low):
        return "What a network learns from generated images can't be compared, since the difference has no interval."
    if low <= 0 <= high:
        decided = (
            "The interval includes 0: these participants show no difference, which doesn't prove that there is none."
        )
    elif (row["difference"] > 0) == bool(described.higher_is_better):
        decided = "The interval excludes 0: the network was better from generated images."
    else:
        decided = "The interval excludes 0: the network was worse from generated images."
    return (
        f"The same network, trained on generated images alone minus trained on scans, on the same "
        f"{labels.counted(int(row['n']), 'held-out participant')}: {described.label} "
        f"{labels.number(row['difference'], described.decimals)}{unit} {labels.interval(low, high, described.decimals)}, where "
        f"{'higher' if described.higher_is_better else 'lower'} is better. {decided}"
    )


def _copies(found: pd.DataFrame) -> str:
    """Whether generated images look like copies of training scans."""
    own = _row(found, COPIES, NEAR_COPIES, GENERATED)
    if own is None or not labels.is_number(own["value"]):
        return "Whether generated images are copies can't be said: there are fewer than three training participants."
    nearer, other = _row(found, COPIES, NEARER, GENERATED), _row(found, COPIES, NEARER, HELD_OUT)
    distances = [_row(found, COPIES, DISTANCE, model) for model in (GENERATED, HELD_OUT)]
    near, far = (labels.number(one["value"], LEVEL_DECIMALS) if one is not None else "–" for one in distances)
    shares = [labels.number(100 * one["value"], 0) if one is not None else "–" for one in (nearer, other)]
    if own["ci_low"] > PERCENT / 100:
        decided = (
            "More than expected: the model looks as if it copied training scans, and its images shouldn't be shared."
        )
    else:
        decided = "That is not more than expected, so this comparison shows no copying, which doesn't prove privacy."
    return (
        f"The nearest training scan is {near} levels of 255 from a generated image on average, and {far} from a held-out scan. "
        f"Nearer than {100 - PERCENT} % of the training scans are to the next person's: {shares[0]} % of the generated images, "
        f"{shares[1]} % of the held-out scans; smooth images are near to every scan. As near, and also much nearer to one person "
        f"than to the second: {labels.number(100 * own['value'], 0)} % of {int(own['n'])} generated images "
        f"({labels.number(100 * own['ci_low'], 0)} to {labels.number(100 * own['ci_high'], 0)} %). {decided}"
    )


def _distribution(found: pd.DataFrame) -> str:
    """How far the generated images are from the held-out scans as a distribution."""
    own, scans = (_row(found, DISTRIBUTION, MMD, model) for model in (GENERATED, TRAINING))
    if own is None or scans is None or not labels.is_number(own["difference_low"]):
        return "The distributions of generated images and held-out scans can't be compared: there are too few participants."
    low, high = own["difference_low"], own["difference_high"]
    if low > 0:
        decided = (
            "The interval of the difference excludes 0: generated images differ more from them than training scans do."
        )
    else:
        decided = "The interval of the difference reaches 0 or below: generated images are not shown to differ more."
    numbers = [labels.number(value, MMD_DECIMALS) for value in (own["value"], scans["value"], own["difference"])]
    return (
        f"The squared maximum mean discrepancy to the held-out scans is {numbers[0]} for generated images and {numbers[1]} for "
        f"training scans (difference {numbers[2]} {labels.interval(low, high, MMD_DECIMALS)}). {decided}"
    )


def _row(found: pd.DataFrame, question: str, metric: str, model: str) -> pd.Series | None:
    return tables.first(found[found["metric"] == metric], question=question, model=model)


def _figure(part: Part) -> Drawing | Missing:
    """Generated images at several values of the target."""
    experiment = part.experiment
    path, what = experiment.folder / "generation" / "examples.npz", f"the generated images of {experiment.name}"
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in ARRAYS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        return experiment.sources.lack(path, what, f"The file can't be read: {error}.")
    titles = [
        f"{labels.number(value, 0)}{part.unit} {sex}".strip()
        for value, sex in zip(arrays["target"], arrays["sex"], strict=True)
    ]
    file = part.output / "figures" / f"{experiment.name}_generated.webp"
    size = generated_figure(arrays["images"], titles, file)
    return Drawing(
        f"figures/{file.name}",
        f"Generated images, of no person, for {part.target} and sex: {', '.join(titles)}; a middle slice of each plane.",
        f"Generated images, not scans: one for each of {len(titles)} values of {part.target}, from low to high. Look whether the "
        "ventricles and the surface change as they do in people, and whether fine structures are blurred.",
        *size,
    )


def _table(part: Part, found: pd.DataFrame) -> Table:
    rows = found[found["question"] == USE]
    metrics, lines = tables.metrics_in_order(rows), []
    for model in (GENERATED, TRAINING):
        records = {row["metric"]: row for _, row in rows[rows["model"] == model].iterrows()}
        cells = [tables.number_cell(records.get(metric), metric) for metric in metrics]
        lines.append(Row(labels.spaced(model), [*cells, Cell(str(int(records[metrics[0]]["n"])))]))
    return Table(
        "The same network trained on generated images alone and on training scans (first seed), on the same held-out "
        f"participants. {tables.intervals_explained(rows)} {N_COUNTS}",
        [Column("Learned from", right=False)] + [tables.metric_column(metric) for metric in metrics] + [Column("n")],
        lines,
        "Trained on generated images, tested on scans.",
    )
