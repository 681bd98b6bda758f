"""What fine-tuning and more own participants bring: the learning curve of an experiment, on the same held-out participants."""

import pandas as pd

from neurocohort.evaluation.learning_curve import APPLIED, FINE_TUNED, RANDOM
from neurocohort.report import labels, tables
from neurocohort.report.figures import Drawing
from neurocohort.report.figures_learning_curve import learning_curve_figure
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import N_COUNTS, Cell, Column, Row, Table

STARTS = {APPLIED: "applied without training", FINE_TUNED: "fine-tuned", RANDOM: "trained from random weights"}


def learning_curve(part: Part, content: Content) -> None:
    """Put the sentences, the figure and the table of the curve into ``content``; nothing for an experiment without one."""
    curve = part.experiment.learning_curve
    if curve is None:
        return
    if isinstance(curve, Missing):
        content.details.append(curve)
        return
    name = part.headline_metric
    own = curve[curve["metric"] == name]
    if own["value"].notna().sum() == 0:
        content.sentences.append("No learning curve: the points have fewer than three held-out participants in common.")
        return
    content.sentences += _sentences(part, own)
    content.figures.append(_figure(part, own))
    content.details.append(_table(part, curve))


def _sentences(part: Part, rows: pd.DataFrame) -> list[str]:
    tuned = rows[rows["start"] == FINE_TUNED]
    last = tuned.loc[tuned["participants"].idxmax()]
    sentences = [
        f"With all {int(last['participants'])} own participants of the training and validation parts: "
        f"{_difference(part, last, RANDOM)}",
    ]
    applied = rows[rows["start"] == APPLIED].iloc[0]
    if labels.is_number(applied["value"]):
        sentences.append(f"With the same participants: {_difference(part, last, APPLIED)}")
    notes = rows["note"].dropna().astype(str)
    sentences += [note for note in dict.fromkeys(notes[rows["participants"] == 0]) if note]
    return sentences


def _difference(part: Part, row: pd.Series, other: str) -> str:
    """Fine-tuned minus another start in words, and whether the interval includes 0."""
    described = labels.metric(str(row["metric"]))
    value, low, high = (row[f"minus_{other}{end}"] for end in ("", "_low", "_high"))
    if not labels.is_number(value) or not labels.is_number(low):
        return f"fine-tuned and {STARTS[other]} can't be compared, since the difference has no interval."
    unit = labels.metric_unit(str(row["metric"]), part.experiment.target)
    better = (value > 0) == bool(described.higher_is_better)
    if low <= 0 <= high:
        decided = "The interval includes 0: these participants do not show which is better."
    elif better:
        decided = "The interval excludes 0: the fine-tuned network was better."
    else:
        decided = f"The interval excludes 0: the network {STARTS[other]} was better."
    return (
        f"fine-tuned minus {STARTS[other]} on the same {labels.counted(int(row['n']), 'held-out participant')}: "
        f"{described.label} {labels.number(value, described.decimals)}{unit} "
        f"{labels.interval(low, high, described.decimals)}, where {'higher' if described.higher_is_better else 'lower'} is "
        f"better. {decided}"
    )


def _figure(part: Part, rows: pd.DataFrame) -> Drawing:
    described, path = labels.metric(part.headline_metric), part.figure("learning_curve")
    unit = labels.metric_unit(part.headline_metric, part.experiment.target)
    learning_curve_figure(rows, path, f"{described.label}{f' ({unit.strip()})' if unit else ''}")
    numbers = sorted({int(number) for number in rows["participants"] if number})
    return Drawing.of(
        path,
        f"{described.label} of fine-tuned networks and of networks from random weights against the number of own participants, "
        f"from {numbers[0]} to {numbers[-1]}.",
        "Learning curve: the same held-out participants, networks trained on more and more of the own participants (nested "
        "subsets). Bars are 95 % intervals, which are those of single points; compare two points by their difference in the "
        "table. Look at whether the curves still fall or rise at their end: then more participants would help.",
    )


def _table(part: Part, curve: pd.DataFrame) -> Table:
    name = part.headline_metric
    names, lines = tables.metrics_in_order(curve), []
    for (start, number), rows in curve.groupby(["start", "participants"], sort=False):
        records = {row["metric"]: row for _, row in rows.iterrows()}
        own = records[name]
        note = "learned nothing" if "learned nothing" in str(own["note"]) else ""
        cells = [Cell(str(int(number)) if number else "none", note=note)]
        cells += [tables.number_cell(records.get(metric), metric) for metric in names]
        cells += [_difference_cell(own, other) for other in (APPLIED, RANDOM)]
        lines.append(
            Row(labels.spaced(STARTS[str(start)]), [*cells, Cell(str(int(own["n"])))], own=start == FINE_TUNED)
        )
    label = labels.metric(name).label
    return Table(
        "Networks applied without training, fine-tuned, and trained from random weights, by the number of own participants in "
        f"the training and validation parts; all on the same held-out participants. The differences are of {label}, from a "
        f"paired bootstrap. {tables.intervals_explained(curve)} {N_COUNTS}",
        [Column("Start", right=False), Column("Own participants")]
        + [tables.metric_column(metric) for metric in names]
        + [Column(f"{label} minus applied"), Column(f"{label} minus random"), Column("n")],
        lines,
        f"Learning curve: {len(lines)} points, from {_least(curve)} to {int(curve['participants'].max())} own participants.",
    )


def _least(curve: pd.DataFrame) -> int:
    return int(curve.loc[curve["participants"] > 0, "participants"].min())


def _difference_cell(row: pd.Series, other: str) -> Cell:
    value = row[f"minus_{other}"]
    if not labels.is_number(value):
        return Cell("–")
    places = labels.metric(str(row["metric"])).decimals
    limits = labels.interval(row[f"minus_{other}_low"], row[f"minus_{other}_high"], places)
    return Cell(labels.number(value, places), limits, value=float(value))
