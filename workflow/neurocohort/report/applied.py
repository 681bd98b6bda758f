"""Scans to which an experiment's networks are only applied: those of external cohorts that have no value of the target, and those
that were added to a cohort after the networks were trained."""

import pandas as pd

from neurocohort.report import labels
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.study import Experiment
from neurocohort.report.tables import Cell, Column, Row, Table

MOST_ROWS = 50  # of a table of predictions


def only_predicted(part: Part) -> bool:
    """Whether no scan of an external cohort is tested, and there are predictions of it."""
    samples, applied = part.experiment.samples, part.experiment.applied
    if part.cohort is None or isinstance(samples, Missing) or isinstance(applied, Missing):
        return False
    name = part.cohort.name
    return not (samples["cohort"] == name).any() and bool((applied["cohort"] == name).any())


def applied_scans(part: Part, content: Content) -> None:
    """Put the scans of one part that are only predicted into ``content``; nothing where there are none."""
    table = part.experiment.applied
    if isinstance(table, Missing):
        content.details.append(table)
        return
    if part.cohort is None:
        rows = table[table["part"] != "external"]
        content.sentences += _added(part.experiment, rows)
    else:
        rows = table[(table["part"] == "external") & (table["cohort"] == part.cohort.name)]
        content.sentences += _unlabelled(part, rows)
    if len(rows) and "prediction" in rows:
        content.details.append(_table(part, rows))


def _unlabelled(part: Part, rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    where = part.cohort.title if part.cohort else part.name
    return [
        f"{labels.counted(len(rows), 'scan')} of {where} with no value of {part.experiment.target} only got predictions. They "
        "are in no metric; whether these predictions are right is not known."
    ]


def _added(experiment: Experiment, rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    people = rows[["cohort", "participant_id"]].drop_duplicates()
    count = f"{labels.counted(len(rows), 'scan')} of {labels.counted(len(people), 'participant')}"
    sentences = [
        f"{count} were added after the training, and the networks have not seen them: they stayed as they were "
        "(new_scans: keep_networks). Participants of the held-out part who were added are tested like the others."
    ]
    if experiment.task == "segmentation":
        sentences.append("The added scans of the development part are not used, and have no label maps.")
    else:
        sentences.append(
            "The added scans of the development part only get predictions, and are in no metric. To train with them, set "
            "new_scans: retrain."
        )
    known = rows["reason"].str.contains("known before")
    if known.any():
        sentences.append(
            f"{labels.counted(int(known.sum()), 'added scan')} are sessions of participants who were trained or validated "
            "on, so that these predictions may be too good."
        )
    return sentences


def _table(part: Part, rows: pd.DataFrame) -> Table:
    """The predictions, with the standard deviation over the networks."""
    decimals = 1 if part.experiment.task == "regression" else 2
    lines = []
    for row in rows.head(MOST_ROWS).to_dict("records"):
        values = [Cell(labels.number(row[key], decimals), value=float(row[key])) for key in ("prediction", "spread")]
        lines.append(Row(str(row["scan_id"]), [*values, Cell(str(row["reason"]), right=False)]))
    more = f" The others of {len(rows)} scans are in applied.tsv." if len(rows) > MOST_ROWS else ""
    columns = [
        Column("Scan", right=False),
        Column("Prediction"),
        Column("SD over networks"),
        Column("Why", right=False),
    ]
    caption = f"Scans that only got predictions of {part.target}: the mean over the networks.{more}"
    return Table(caption, columns, lines, f"Predictions of {labels.counted(len(rows), 'scan')} that are in no metric.")
