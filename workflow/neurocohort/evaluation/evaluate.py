"""metrics.tsv: each metric with its interval, for the network and for every baseline, on the same rows."""

from collections.abc import Iterator

import pandas as pd

from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import POOLED, SEGMENTATION, estimates, judged_parts, with_baselines
from neurocohort.evaluation.rows import MetricRow, table_of

AGE_BAND_YEARS = 20


def evaluate(predictions: pd.DataFrame, baselines: pd.DataFrame, kind: str, bootstrap: Bootstrap) -> pd.DataFrame:
    """metrics.tsv: model, cohort, part, group, metric, value, ci_low, ci_high, interval, n (participants).

    Each part of each cohort is judged as a whole and by group (`groups`); the held-out parts of several trained cohorts also
    together, as cohort ``all``. All intervals use the same seed, so that models are compared on the same resamples.

    Args:
        predictions: The network's rows. A classification with columns ``probability_0`` and so on has more than two classes.
        baselines: The same columns and ``model``; also the rows of `combined`.
        kind: The task.
        bootstrap: Number of resamples and seed.
    """
    rows = [
        MetricRow(part.model, part.cohort, part.part, group, estimate)
        for part in judged_parts(with_baselines(predictions, baselines))
        for group, chosen in (groups(part.table, kind) if part.cohort != POOLED else [("all", part.table)])
        for estimate in estimates(chosen, kind, bootstrap)
    ]
    return table_of(rows, MetricRow)


def groups(table: pd.DataFrame, kind: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield name and rows of every group: ``all``, ``tissue=``, ``site=``, ``sex=`` and ``age=`` in bands of twenty years.

    Groupings of sites, sexes or ages with a single value are skipped.
    """
    yield from whole_and_tissues(table, kind)
    columns = {name: table[name] for name in ("site", "sex") if name in table}
    if "age" in table:
        columns["age"] = age_bands(table["age"])
    for name, values in columns.items():
        if values.nunique() > 1:
            for value in sorted(values.dropna().unique()):
                yield f"{name}={value}", table[values == value]


def whole_and_tissues(table: pd.DataFrame, kind: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield name and rows of the groups ``all`` and, for a segmentation, ``tissue=``."""
    yield "all", table
    if kind == SEGMENTATION:
        for tissue, chosen in table.groupby("tissue", sort=True):
            yield f"tissue={tissue}", chosen


def age_bands(ages: pd.Series) -> pd.Series:
    """The band of each age in years, such as ``20-39``; missing where the age is missing."""
    lowest = ages.astype(float) // AGE_BAND_YEARS * AGE_BAND_YEARS
    return lowest.map(lambda low: f"{int(low)}-{int(low) + AGE_BAND_YEARS - 1}", na_action="ignore")
