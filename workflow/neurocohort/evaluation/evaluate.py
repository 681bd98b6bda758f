"""The table of results: each metric with its interval, for the network and for every baseline, on the same rows."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from neurocohort.evaluation.measures import (
    COLUMNS,
    POOLED,
    SEGMENTATION,
    SMALLEST_GROUP,
    estimate,
    judged_parts,
    measures,
    with_baselines,
)

AGE_BAND_YEARS = 20


def evaluate(
    predictions: pd.DataFrame, baselines: pd.DataFrame, kind: str, *, resamples: int, seed: int
) -> pd.DataFrame:
    """metrics.tsv: model, cohort, part, group, metric, value, ci_low, ci_high, interval, n (participants).

    ``predictions``: the network's rows; ``baselines``: the same columns with ``model`` first. Each part of each cohort is
    judged as a whole, by site, by sex and by age band (and by tissue for a segmentation); several trained cohorts' held-out
    parts also together, as cohort ``all``. A classification with columns ``probability_0`` and upwards has more than two
    classes. Every interval draws from the same seed, so models are compared on the same resamples. A perfect AUC, which has
    no distribution to resample, gets a score-type interval (``newcombe``).
    """
    rows = []
    for about, table in judged_parts(with_baselines(predictions, baselines)):
        for group, chosen in groups(table, kind) if about["cohort"] != POOLED else [("all", table)]:
            rows += [about | {"group": group} | figure for figure in figures(chosen, kind, resamples, seed)]
    return pd.DataFrame(rows, columns=COLUMNS)


def groups(table: pd.DataFrame, kind: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield name and rows of every group: ``all``, ``tissue=``, ``site=``, ``sex=`` and ``age=`` in bands of twenty years.

    Sites, sexes and bands that have everybody aren't told apart.
    """
    yield "all", table
    if kind == SEGMENTATION:
        for tissue, chosen in table.groupby("tissue", sort=True):
            yield f"tissue={tissue}", chosen
    columns = {name: table[name] for name in ("site", "sex") if name in table}
    if "age" in table:
        columns["age"] = age_bands(table["age"])
    for name, values in columns.items():
        if values.nunique() > 1:
            for value in sorted(values.dropna().unique()):
                yield f"{name}={value}", table[values == value]


def age_bands(ages: pd.Series) -> pd.Series:
    """``20-39`` of 27.5 years, and so on; missing where the age is."""
    lowest = ages.astype(float) // AGE_BAND_YEARS * AGE_BAND_YEARS
    return lowest.map(lambda low: f"{int(low)}-{int(low) + AGE_BAND_YEARS - 1}", na_action="ignore")


def figures(table: pd.DataFrame, kind: str, resamples: int, seed: int) -> list[dict]:
    """A record for each metric on the rows of ``table``; none where they are of fewer than three participants."""
    people = table["participant_id"].to_numpy()
    if len(np.unique(people)) < SMALLEST_GROUP:
        return []
    return [
        estimate(name, measure, people, resamples=resamples, seed=seed)
        for name, measure in measures(table, kind).items()
    ]
