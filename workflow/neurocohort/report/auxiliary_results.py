"""The auxiliary variables of an experiment on the page: their metrics, apart from those of the target."""

import pandas as pd

from neurocohort.evaluation.auxiliary import SETTING
from neurocohort.report import labels, tables
from neurocohort.report.part import Content, Part
from neurocohort.report.sources import Missing
from neurocohort.report.tables import COHORT, Key

VARIABLE = Key("setting", "Variable", lambda setting: labels.spaced(_variable(setting)))


def auxiliary(part: Part, content: Content) -> None:
    """Put a table of the auxiliary variables, and how many scans have a value, into ``content``; nothing without any."""
    details = part.details
    if isinstance(details, Missing):
        return
    rows = details[details["setting"].astype(str).str.startswith(f"{SETTING}: ")]
    if rows.empty:
        return
    caption = f"Auxiliary variables, {part.name}: what the network also learned. They have no baseline."
    content.details.append(tables.metric_table(rows, [VARIABLE, COHORT], caption, summary=_summary(part, rows)))
    content.sentences += list(dict.fromkeys(rows["note"].astype(str)))


def _variable(setting: str) -> str:
    return setting.removeprefix(f"{SETTING}: ")


def _summary(part: Part, rows: pd.DataFrame) -> str:
    first = rows.drop_duplicates("setting")
    shown = [
        f"{labels.in_text(_variable(row['setting']))} {labels.metric(row['metric']).label} {tables.with_interval(row)}"
        for _, row in first.iterrows()
    ]
    return f"Auxiliary variables on {part.name} scans, not part of the main result: {'; '.join(shown)}."
