"""Tables of numbers on the page: a row for each model, group or site, a column for each metric."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from neurocohort.report import labels

N_COUNTS = "n counts participants, with all their scans."
MARKS = {  # by kind of interval, its mark on the page and what that means; BCa has no mark
    "percentile": ("†", "percentile interval, where BCa is degenerate"),
    "newcombe": (
        "‡",
        "Newcombe's score-type interval, where nothing was confused and resampling has nothing to vary",
    ),
    "wilson": ("§", "Wilson's interval of a proportion"),
}


@dataclass(frozen=True)
class Column:
    """A heading; ``higher_is_better`` draws an arrow (None: neither), ``right`` puts numbers under it."""

    label: str
    higher_is_better: bool | None = None
    right: bool = True


@dataclass(frozen=True)
class Cell:
    """A value as text with its interval, the mark of the interval's kind, and a short note after both; ``value`` sorts."""

    text: str
    interval: str = ""
    mark: str = ""
    note: str = ""
    right: bool = True
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """A row with its heading; ``own`` for the network's among those of others."""

    head: str
    cells: list[Cell]
    own: bool = False


@dataclass(frozen=True)
class Table:
    """A table. With a ``summary``, a sentence with its main figure, it is folded away behind that sentence."""

    caption: str
    columns: list[Column]
    rows: list[Row]
    summary: str = ""


@dataclass(frozen=True)
class Key:
    """A column of a table of results that distinguishes its rows: its name, its heading on the page, and the text of a value."""

    name: str
    heading: str
    text: Callable[[str], str]


MODEL = Key("model", "Model", labels.model)
COHORT = Key("cohort", "Cohort", labels.cohort)
TISSUE = Key("tissue", "Tissue", str)
STRUCTURE = Key("tissue", "Structure", str)  # the same column, for other structures


def metrics_in_order(rows: pd.DataFrame) -> list[str]:
    """The names of the metrics of a table of results, in their order there."""
    return list(dict.fromkeys(rows["metric"]))


def metric_column(name: str) -> Column:
    """The heading of a metric."""
    described = labels.metric(name)
    return Column(described.label, described.higher_is_better)


def number_cell(row: pd.Series | None, name: str | None = None, note: str = "") -> Cell:
    """The value and interval of a ``row`` with metric, value, ci_low, ci_high and interval; a dash where there is none."""
    if row is None:
        return Cell("–")
    places = labels.metric(name or row["metric"]).decimals
    found = labels.interval(row["ci_low"], row["ci_high"], places)
    mark = MARKS.get(row.get("interval"), ("", ""))[0] if found else ""
    if row.get("interval") == "wilson" and not note:
        note = f"of {int(row['n'])}"
    return Cell(labels.number(row["value"], places), found, mark, note, value=number_of(row["value"]))


def number_of(value: object) -> float | None:
    """The value as a number, None where it is missing."""
    return float(value) if labels.is_number(value) else None


def metric_table(
    rows: pd.DataFrame, keys: Sequence[Key], caption: str, names: Iterable[str] | None = None, summary: str = ""
) -> Table:
    """A long table of results as one with a row for each combination of ``keys`` and a column for each metric.

    Args:
        rows: Columns metric, value, ci_low, ci_high, interval, n and those of ``keys``.
        keys: The columns that distinguish the rows. The cohort has no column where there is only one.
        caption: The caption, to which the meaning of the intervals and of n is added.
        names: The metrics; all in their order where None.
        summary: A sentence behind which the table is folded away.
    """
    several = rows["cohort"].nunique() > 1
    names = [name for name in (names or metrics_in_order(rows)) if (rows["metric"] == name).any()]
    rows = rows[rows["metric"].isin(names)]
    lines = []
    for values, group in rows.groupby([key.name for key in keys], sort=False, dropna=False):
        shown = [key.text(value) for key, value in zip(keys, values, strict=True) if several or key is not COHORT]
        records = {row["metric"]: row for _, row in group.iterrows()}
        cells = [Cell(text, right=False) for text in shown[1:]] + [number_cell(records.get(name)) for name in names]
        own = (MODEL, "network") in zip(keys, values, strict=True)
        lines.append(Row(shown[0], [*cells, Cell(str(int(group["n"].max())))], own))
    columns = [Column(key.heading, right=False) for key in keys if several or key is not COHORT]
    columns += [*map(metric_column, names), Column("n")]
    return Table(f"{caption} {intervals_explained(rows)} {N_COUNTS}", columns, lines, summary)


def intervals_explained(rows: pd.DataFrame) -> str:
    """A sentence on what the brackets and marks of a table mean."""
    kinds = set(rows["interval"]) if "interval" in rows else set()
    marks = "".join(f"; {mark} {text}" for kind, (mark, text) in MARKS.items() if kind in kinds)
    return f"95 % intervals in brackets{marks}."


def with_interval(row: pd.Series | None, unit: str = "") -> str:
    """``3.79 years [0.60, 8.29]`` of a row of a table of results; ``not defined`` where it has no value."""
    if row is None or not labels.is_number(row["value"]):
        return "not defined"
    places = labels.metric(row["metric"]).decimals
    found = labels.interval(row["ci_low"], row["ci_high"], places)
    return f"{labels.number(row['value'], places)}{unit} {found}".rstrip()


def first(rows: pd.DataFrame, **where: str) -> pd.Series | None:
    """The first row with these values; None where there is none."""
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows.iloc[0] if len(rows) else None


def figure(rows: pd.DataFrame, unit: str = "", **where: str) -> str:
    """The first row with these values, as `with_interval` writes it."""
    return with_interval(first(rows, **where), unit)


def lead_cohort(rows: pd.DataFrame) -> str:
    """The cohort whose figures represent a part: all together where they are pooled, else the first."""
    cohorts = list(dict.fromkeys(rows["cohort"]))
    return "all" if "all" in cohorts else cohorts[0]


def network_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The network's rows on the cohort whose figures represent a part."""
    return rows[(rows["model"] == "network") & (rows["cohort"] == lead_cohort(rows))]


def network_first(rows: pd.DataFrame) -> pd.DataFrame:
    """The network's rows, then those of the baselines in their order."""
    return pd.concat([rows[rows["model"] == "network"], rows[rows["model"] != "network"]])


def note_of(rows: pd.DataFrame) -> str:
    """The first sentence in the column ``note`` of the rows; empty where there is none."""
    notes = rows["note"].dropna()
    return str(notes.iloc[0]) if len(notes) else ""
