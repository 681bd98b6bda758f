"""What scans without a label map brought: a segmentation with and without them, on the same held-out participants."""

import pandas as pd

from neurocohort.evaluation.few_labels import LABELS_ONLY, WITH_UNLABELLED
from neurocohort.report import labels, tables
from neurocohort.report.development import unlabelled_sentence
from neurocohort.report.formats import Run
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import N_COUNTS, Cell, Column, Row, Table


def few_labels(part: Part, content: Content) -> None:
    """Put the sentences and the table into ``content``; nothing for an experiment that learns from labels only."""
    table = part.experiment.few_labels
    if table is None:
        return
    content.sentences += unlabelled_sentence([run for run in part.experiment.runs.values() if isinstance(run, Run)])
    if isinstance(table, Missing):
        content.details.append(table)
        return
    name = part.headline_metric
    own = tables.first(table[table["metric"] == name], model=WITH_UNLABELLED)
    if own is None:
        content.sentences.append("Fewer than three held-out participants: what these scans brought can't be measured.")
        return
    content.sentences.append(_gain(own))
    content.sentences += [note for note in dict.fromkeys(table["note"].dropna().astype(str)) if note]
    content.details.append(_table(table, name))


def _gain(row: pd.Series) -> str:
    """The difference of the two networks in words, and whether the interval includes 0."""
    described = labels.metric(str(row["metric"]))
    value, low, high = (row[f"difference{end}"] for end in ("", "_low", "_high"))
    if not labels.is_number(value) or not labels.is_number(low):
        return "What these scans brought can't be stated, since the difference to the network without them has no interval."
    if low <= 0 <= high:
        decided = "The interval includes 0: these participants show no gain from them."
    elif (value > 0) == bool(described.higher_is_better):
        decided = "The interval excludes 0: the network was better with them."
    else:
        decided = "The interval excludes 0: the network was worse with them."
    better = "higher" if described.higher_is_better else "lower"
    return (
        f"With them minus without them, on the same {labels.counted(int(row['n']), 'held-out participant')}: {described.label} "
        f"{labels.number(value, described.decimals)} {labels.interval(low, high, described.decimals)}, where {better} is better. "
        f"{decided}"
    )


def _table(table: pd.DataFrame, name: str) -> Table:
    metrics, lines = tables.metrics_in_order(table), []
    for model in (WITH_UNLABELLED, LABELS_ONLY):
        records = {row["metric"]: row for _, row in table[table["model"] == model].iterrows()}
        own = records[name]
        note = "learned nothing" if "learned nothing" in str(own["note"]) else ""
        cells = [tables.number_cell(records.get(metric), metric) for metric in metrics]
        cells += [_difference_cell(own), Cell(str(int(own["n"])), note=note)]
        lines.append(Row(labels.spaced(model), cells, own=model == WITH_UNLABELLED))
    label = labels.metric(name).label
    return Table(
        "The network with scans that have no label map, and the same network from the labelled scans only, on the same held-out "
        f"participants. The difference is of {label}, from a paired bootstrap. {tables.intervals_explained(table)} {N_COUNTS}",
        [Column("Learned from", right=False)]
        + [tables.metric_column(metric) for metric in metrics]
        + [Column(f"{label} minus labels only"), Column("n")],
        lines,
        "With and without scans that have no label map.",
    )


def _difference_cell(row: pd.Series) -> Cell:
    value = row["difference"]
    if not labels.is_number(value):
        return Cell("–")
    places = labels.metric(str(row["metric"])).decimals
    limits = labels.interval(row["difference_low"], row["difference_high"], places)
    return Cell(labels.number(value, places), limits, value=float(value))
