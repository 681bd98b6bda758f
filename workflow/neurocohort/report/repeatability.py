"""Participants with several sessions on the page: how far the predictions of one person differ, and whether they follow age."""

import pandas as pd

from neurocohort.evaluation.repeatability import repeated_sessions
from neurocohort.report import labels, tables
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import COHORT, MODEL, Cell, Column, Row, Table

MOST_PEOPLE = 12  # in the table of predictions by session


def repeated(part: Part, content: Content) -> None:
    """Put the repeatability into ``content``; nothing where no participants have several sessions."""
    rows, predictions = part.repeatability, part.predictions
    if isinstance(rows, Missing):
        content.details.append(rows)
        return
    own = tables.network_rows(rows) if len(rows) else rows
    if own.empty:
        return
    content.details.append(_measures(part, rows, own))
    if not isinstance(predictions, Missing):
        content.details.append(_sessions(part, repeated_sessions(predictions)))


def _measures(part: Part, rows: pd.DataFrame, own: pd.DataFrame) -> Table:
    sd, icc, change = (tables.first(own, metric=name) for name in ("retest_sd", "icc", "change_per_year"))
    count = labels.counted(int(own["n"].max()), "participant")
    summary = (
        f"Repeated sessions of {count}: retest SD of the network {tables.with_interval(sd, part.unit)}, ICC(2,1) of its "
        f"predictions {tables.with_interval(icc)}"
    )
    summary += (
        f"; per year between sessions they rise by {tables.with_interval(change)}." if change is not None else "."
    )
    gap = own["gap_years"].max()
    apart = f" The sessions are {labels.number(gap, 2)} years apart (median)." if labels.is_number(gap) else ""
    ideal = " 1 is ideal." if part.experiment.target == "age" else ""
    follows = (
        f" The change per year is of all sessions of the participants whose ages differ.{ideal}"
        if change is not None
        else ""
    )
    return tables.metric_table(
        tables.network_first(rows),
        [MODEL, COHORT],
        caption=f"Repeatability, {part.name}: the first two sessions of each participant who has several.{apart} Retest SD is "
        "the standard deviation within a participant of predicted minus true. An ICC near 1 means that participants differ far "
        f"more than their sessions; a constant has none.{follows}",
        summary=summary,
    )


def _sessions(part: Part, table: pd.DataFrame) -> Table:
    """The network's prediction at each session, participants in rows."""
    people = table["participant_id"].unique()
    shown = table[table["participant_id"].isin(people[:MOST_PEOPLE])]
    count = int(shown["session"].max()) + 1
    lines = []
    for participant, rows in shown.groupby("participant_id", sort=False):
        cells = [
            Cell(
                f"{labels.number(row['prediction'], 1)} ({labels.number(row['target'], 1)})",
                value=float(row["prediction"]),
            )
            for row in rows.to_dict("records")
        ]
        lines.append(Row(str(participant), cells + [Cell("–")] * (count - len(cells))))
    more = f" The others of {len(people)} participants are in predictions.tsv." if len(people) > MOST_PEOPLE else ""
    return Table(
        f"The network's prediction at each session, {part.name}, with the true {part.target} in brackets.{more}",
        [Column("Participant", right=False), *(Column(f"Session {number + 1}") for number in range(count))],
        lines,
        f"Predictions at each session of {labels.counted(len(lines), 'participant')}.",
    )
