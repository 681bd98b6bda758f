"""How important the regions of an atlas are for the networks of an experiment, beside networks that learned nothing."""

import pandas as pd

from neurocohort.imaging.atlas import BLOCKS
from neurocohort.report import labels
from neurocohort.report.figures import Drawing
from neurocohort.report.figures_regions import regions_figure
from neurocohort.report.formats import RegionRecord
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import Cell, Column, Row, Table
from neurocohort.text import few

MOST_NAMED = 6
ERRORS = {"regression": "absolute error", "classification": "logarithmic loss"}
PERCENT = 100


def regions(part: Part, content: Content) -> None:
    """Put the sentences, the figure and the table into ``content``; nothing where they aren't asked for."""
    table, record = part.experiment.regions, part.experiment.region_record
    if table is None or record is None:
        return
    if isinstance(table, Missing) or isinstance(record, Missing):
        content.details += [one for one in (table, record) if isinstance(one, Missing)]
        return
    rows = table[table["share"].notna()]
    if rows["share_low"].isna().all():
        content.sentences.append("The importance of regions has no intervals: fewer than three held-out participants.")
    else:
        content.sentences += [_beside_random(rows, record), _errors(part, rows)]
        content.sentences += _beside_permuted(rows, record) + _agreement(record)
        content.figures.append(_figure(part, rows, record))
    content.details.append(_table(part, table, record))


def _beside_random(rows: pd.DataFrame, record: RegionRecord) -> str:
    above = _above(rows, "minus_random")
    hidden = f"Each of {labels.counted(record.regions, 'region')} was hidden in {labels.counted(record.scans, 'held-out scan')}."
    if above.empty:
        return (
            f"{hidden} No region is shown to have a larger share of the changes of the prediction than in networks with random "
            "weights: size, anatomy and architecture may explain the shares."
        )
    return (
        f"{hidden} Regions with a larger share of the changes of the prediction than in networks with random weights, by "
        f"intervals that hold for all regions together: {few(map(_with_shares, above.to_dict('records')), MOST_NAMED, '; ')}."
    )


def _errors(part: Part, rows: pd.DataFrame) -> str:
    error, above = ERRORS[part.experiment.task], _above(rows, "error_change")
    if above.empty:
        return f"Hiding no single region is shown to raise the {error}: no interval is above 0."
    return f"Hiding one of these raised the {error}: {few(above['name'], MOST_NAMED, '; ')}."


def _beside_permuted(rows: pd.DataFrame, record: RegionRecord) -> list[str]:
    if not record.permuted_networks:
        return []
    above, networks = _above(rows, "minus_permuted"), labels.counted(record.permuted_networks, "network")
    if above.empty:
        return [f"No region is shown to have a larger share than in the {networks} that learned from permuted targets."]
    return [
        f"Larger shares than in the {networks} that learned from permuted targets: {few(above['name'], MOST_NAMED, '; ')}."
    ]


def _agreement(record: RegionRecord) -> list[str]:
    own, random, found = record.agreement, record.random_agreement, []
    if own.value is None:
        found.append(
            "Whether other seeds would find the same regions can't be stated: there is a single network, or it is constant."
        )
    else:
        found.append(
            f"Between the networks of the experiment the ranks of the regions correlate by {labels.number(own.value, 2)} "
            f"{labels.interval(own.low, own.high, 2)}, the mean over {labels.counted(own.pairs, 'pair')}."
        )
    if random.value is not None:
        found.append(
            f"With the ranks in networks with random weights they correlate by {labels.number(random.value, 2)} "
            f"{labels.interval(random.low, random.high, 2)}."
        )
    return found


def _above(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The regions whose interval of ``name`` is above 0, the largest value first."""
    return rows[rows[f"{name}_low"] > 0].sort_values(name, ascending=False)


def _with_shares(row: dict) -> str:
    own, random = (labels.number(PERCENT * row[name], 1) for name in ("share", "random_share"))
    return f"{row['name']} ({own} % in place of {random} %)"


def _figure(part: Part, rows: pd.DataFrame, record: RegionRecord) -> Drawing:
    path = part.figure("regions")
    count = regions_figure(rows, path)
    return Drawing.of(
        path,
        f"The {labels.counted(count, 'region')} with the largest shares of the changes of the prediction, with intervals, over "
        "the intervals of networks with random weights.",
        f"Importance of regions: the {count} with the largest shares of {record.regions}. A share is the part of a region in "
        "the mean absolute changes of the prediction when regions are hidden one at a time. Points and bars are the trained "
        "networks with pointwise 95 % intervals over participants; grey bars are the intervals of networks with random "
        "weights, where large regions have large shares too. Look for points to the right of their grey bar; the table has "
        "intervals of the difference that hold for all regions together. A region may matter because of what it correlates with.",
    )


def _table(part: Part, table: pd.DataFrame, record: RegionRecord) -> Table:
    error, unit = ERRORS[part.experiment.task], part.unit if part.experiment.task == "regression" else ""
    columns = [Column("Region", right=False), Column("mL"), Column("Share (%)"), Column("Random weights (%)")]
    columns += [
        Column("Difference (points)"),
        Column(f"Change{unit and f' ({unit.strip()})'}"),
        Column("Change per mL"),
    ]
    columns += [Column(f"Change of the {error}")]
    ordered = table.sort_values("share", ascending=False, na_position="last")
    atlas = "blocks of the template's tissues, no anatomical structures" if record.atlas == BLOCKS else record.atlas
    return Table(
        f"Regions ({atlas}) that were hidden one at a time by the mean image of the training part: the region's share of the "
        "mean absolute changes of the prediction, that in networks with random weights and the difference; the change itself, "
        f"and per mL of the region; and how the {error} changed. Intervals of the difference and of the error's change hold for "
        f"all regions together, the others are pointwise. 95 % intervals in brackets.",
        columns,
        [_row(row) for row in ordered.to_dict("records")],
        f"Importance of {labels.counted(record.regions, 'region')} in {labels.counted(record.participants, 'participant')}"
        f"{f'; {record.not_evaluated} more are too small to be evaluated' if record.not_evaluated else ''}.",
    )


def _row(row: dict) -> Row:
    if not labels.is_number(row["share"]):
        cells = [Cell("–") for _ in range(6)]
        return Row(
            str(row["name"]), [Cell(labels.number(row["volume_ml"], 1)), *cells[:-1], Cell("–", note="not evaluated")]
        )
    cells = [Cell(labels.number(row["volume_ml"], 1), value=float(row["volume_ml"]))]
    cells += [_percent(row, "share", "share"), _percent(row, "random_share", "random")]
    cells += [_percent(row, "minus_random", "minus_random"), _cell(row, "change", 3)]
    cells += [
        Cell(labels.number(row["change_per_ml"], 4), value=float(row["change_per_ml"])),
        _cell(row, "error_change", 3),
    ]
    return Row(str(row["name"]), cells)


def _percent(row: dict, name: str, limits: str) -> Cell:
    low, high = (PERCENT * row[f"{limits}_{end}"] for end in ("low", "high"))
    value = PERCENT * row[name]
    return Cell(labels.number(value, 1), labels.interval(low, high, 1), value=float(value))


def _cell(row: dict, name: str, places: int) -> Cell:
    limits = labels.interval(row[f"{name}_low"], row[f"{name}_high"], places)
    return Cell(labels.number(row[name], places), limits, value=float(row[name]))
