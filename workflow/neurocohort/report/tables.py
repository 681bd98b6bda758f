"""Tables of numbers as the page shows them: a row a model, a group or a site, a column a metric, each with its interval."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from neurocohort.report import labels

# The kinds of interval that carry a mark on the page; BCa carries none.
N_TOLD = "n counts participants, of whom each scan counts."
MARKS = {
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
    """A table. With a ``summary``, a sentence that holds its main figure, it is folded away behind that; else it is shown."""

    caption: str
    columns: list[Column]
    rows: list[Row]
    summary: str = ""


def metrics_in_order(rows: pd.DataFrame) -> list[str]:
    """The names of the metrics of a table of results, in the order in which they stand there."""
    return list(dict.fromkeys(rows["metric"]))


def metric_column(name: str) -> Column:
    """The heading of a metric."""
    described = labels.metric(name)
    return Column(described.label, described.higher_is_better)


def number_cell(row: dict | None, name: str | None = None, note: str = "") -> Cell:
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
    return float(value) if labels.is_number(value) else None  # type: ignore[arg-type]


def metric_table(
    rows: pd.DataFrame,
    *,
    keys: list[str],
    heads: list[str],
    told: Callable[..., list[str]],
    caption: str,
    names: Iterable[str] | None = None,
    summary: str = "",
    with_n: bool = True,
) -> Table:
    """A table of results, long, as one with a row for each combination of ``keys`` and a column for each metric.

    ``rows``: metric, value, ci_low, ci_high, interval, n and the columns ``keys``; ``told`` makes the text under each of
    ``heads``, one a key, of a combination; ``names``: the metrics, else all in their order. An only cohort has no column.
    """
    shown = [index for index, key in enumerate(keys) if key != "cohort" or rows["cohort"].nunique() > 1]
    names = [name for name in (names or metrics_in_order(rows)) if (rows["metric"] == name).any()]
    lines = []
    for found, group in rows[rows["metric"].isin(names)].groupby(keys, sort=False, dropna=False):
        texts = told(*found)
        head, *texts = (texts[index] for index in shown)
        records = {row["metric"]: row for row in group.to_dict("records")}
        cells = [Cell(text, right=False) for text in texts] + [number_cell(records.get(name)) for name in names]
        cells += [Cell(str(int(group["n"].max())))] if with_n else []
        lines.append(Row(head, cells, own=dict(zip(keys, found, strict=True)).get("model") == "network"))
    columns = [Column(heads[index], right=False) for index in shown] + [metric_column(name) for name in names]
    columns += [Column("n")] if with_n else []
    counted = f" {N_TOLD}" if with_n else ""
    return Table(f"{caption} {intervals_told(rows[rows['metric'].isin(names)])}{counted}", columns, lines, summary)


def intervals_told(rows: pd.DataFrame) -> str:
    """What the brackets and marks of a table mean."""
    kinds = set(rows["interval"]) if "interval" in rows else set()
    marks = "".join(f"; {mark} {text}" for kind, (mark, text) in MARKS.items() if kind in kinds)
    return f"95 % intervals in brackets{marks}."


def with_interval(row: dict | None, unit: str = "") -> str:
    """``3.79 years [0.60, 8.29]`` of a row of a table of results; ``not defined`` where it has no value."""
    if row is None or not labels.is_number(row["value"]):
        return "not defined"
    places = labels.metric(row["metric"]).decimals
    found = labels.interval(row["ci_low"], row["ci_high"], places)
    return f"{labels.number(row['value'], places)}{unit} {found}".rstrip()


def first(rows: pd.DataFrame, **where: str) -> dict | None:
    """The first row with these values, as a record; None where there is none."""
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows.iloc[0].to_dict() if len(rows) else None


def lead_cohort(rows: pd.DataFrame) -> str:
    """The cohort that stands for a part: all together where they are pooled, else the first."""
    cohorts = list(dict.fromkeys(rows["cohort"]))
    return "all" if "all" in cohorts else cohorts[0]


def network_first(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the network's before the baselines', which keep their order."""
    return pd.concat([rows[rows["model"] == "network"], rows[rows["model"] != "network"]])


def note_of(rows: pd.DataFrame) -> str:
    """The first sentence that the rows' column ``note`` holds, or nothing."""
    notes = rows["note"].dropna()
    return str(notes.iloc[0]) if len(notes) else ""
