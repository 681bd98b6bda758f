"""How well a regression repeats itself: participants with several sessions among the tested scans.

The values of a person at two sessions should be equal where nothing changed between them, and change with age where time passed.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import NO_INTERVAL, Bootstrap, participant_interval
from neurocohort.evaluation.measures import REGRESSION, SMALLEST_GROUP, JudgedPart, judged_parts
from neurocohort.evaluation.metrics import once, weighted_mean
from neurocohort.evaluation.rows import NAN, Estimate, RepeatabilityRow, table_of

Statistic = Callable[[np.ndarray], np.ndarray]  # weights (draws, participants) to values (draws,)


def repeatability(everything: pd.DataFrame, kind: str, bootstrap: Bootstrap) -> pd.DataFrame:
    """repeatability.tsv: model, cohort, part, scans, gap_years, metric, value, ci_low, ci_high, interval, n (participants).

    - ``retest_sd``: the standard deviation within participants of predicted minus true, from the first two sessions.
    - ``icc`` and ``icc_error``: ICC(2,1) of the predictions, and of predicted minus true, at these two sessions.
    - ``change_per_year``: the slope of the prediction on age within participants, over all sessions of those whose ages differ;
      where the target is age, 1 is ideal.

    ``scans`` are those of a row's participants, and ``gap_years`` the median time between their first and last of them, missing
    without ages. Parts with fewer than three such participants, and tasks other than regression, have no rows.

    Args:
        everything: Predictions of all models (`with_baselines`).
        kind: The task.
        bootstrap: Number of resamples and seed.
    """
    parts = judged_parts(everything) if kind == REGRESSION else ()
    return table_of([row for part in parts for row in _rows(part, bootstrap)], RepeatabilityRow)


def repeated_sessions(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of participants with more than one scan, by participant and then by age and scan_id; ``session`` counts from 0."""
    by_age = ["age"] if "age" in table else []
    rows = table.sort_values(["participant_id", *by_age, "scan_id"], kind="stable").reset_index(drop=True)
    person = rows.groupby("participant_id", sort=False)["scan_id"]
    return rows.assign(session=person.cumcount())[person.transform("size") > 1].reset_index(drop=True)


def icc_agreement(values: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """ICC(2,1), two-way random effects, absolute agreement, of one session (Shrout and Fleiss 1979, Psychological Bulletin 86,
    420-428).

    Args:
        values: (participants, sessions), complete.
        weights: How often each participant counts in each draw, (draws, participants); once without them.

    Returns:
        A number, or (draws,) with ``weights``; NaN where all values are equal or only one participant was drawn.
    """
    drawn = once(values) if weights is None else weights
    values = values - values.mean()
    sessions, people = values.shape[1], drawn.sum(axis=-1)
    columns = np.stack([weighted_mean(column, drawn) for column in values.T], axis=-1)  # (draws, sessions)
    grand, own = columns.mean(axis=-1), values.mean(axis=1)
    between = sessions * (drawn * (own - grand[:, None]) ** 2).sum(axis=-1)
    across = people * ((columns - grand[:, None]) ** 2).sum(axis=-1)
    total = sum((drawn * (column - grand[:, None]) ** 2).sum(axis=-1) for column in values.T)
    with np.errstate(all="ignore"):
        rows = between / (people - 1)
        session = across / (sessions - 1)
        error = (total - between - across) / ((people - 1) * (sessions - 1))
        found = (rows - error) / (rows + (sessions - 1) * error + sessions * (session - error) / people)
    found = np.where(np.isfinite(found) & (total > 0), found, np.nan)
    return float(found[0]) if weights is None else found


def _rows(part: JudgedPart, bootstrap: Bootstrap) -> Iterator[RepeatabilityRow]:
    table = repeated_sessions(part.table)
    if table["participant_id"].nunique() < SMALLEST_GROUP:
        return
    pairs = table[table["session"] < 2]
    predicted, error = (
        values.to_numpy(dtype=float).reshape(-1, 2)
        for values in (pairs["prediction"], pairs["prediction"] - pairs["target"])
    )
    apart = np.diff(error, axis=1)[:, 0] ** 2
    statistics: dict[str, Statistic] = {
        "retest_sd": lambda weights: np.sqrt(weighted_mean(apart, weights) / 2),
        "icc": lambda weights: np.asarray(icc_agreement(predicted, weights)),
        "icc_error": lambda weights: np.asarray(icc_agreement(error, weights)),
    }
    for name, statistic in statistics.items():
        found = _estimate(name, statistic, len(predicted), bootstrap)
        yield RepeatabilityRow(part.model, part.cohort, part.part, len(pairs), _gap_years(pairs), found)
    moved = _of_different_ages(table)
    if moved["participant_id"].nunique() >= SMALLEST_GROUP:
        years, change = _within(moved, "age"), _within(moved, "prediction")
        person = moved["participant_id"]
        product, square = ((years * other).groupby(person).sum().to_numpy() for other in (change, years))
        found = _estimate(
            "change_per_year",
            lambda weights: weighted_mean(product, weights) / weighted_mean(square, weights),
            len(product),
            bootstrap,
        )
        yield RepeatabilityRow(part.model, part.cohort, part.part, len(moved), _gap_years(moved), found)


def _estimate(name: str, statistic: Statistic, people: int, bootstrap: Bootstrap) -> Estimate:
    value = float(statistic(np.ones((1, people)))[0])
    interval = participant_interval(statistic, np.arange(people), bootstrap) if np.isfinite(value) else NO_INTERVAL
    return Estimate(name, value, *interval, n=people)


def _of_different_ages(table: pd.DataFrame) -> pd.DataFrame:
    """The scans with an age of participants who have more than one age."""
    if "age" not in table:
        return table[:0]
    known = table[table["age"].notna()]
    return known[known.groupby("participant_id")["age"].transform("nunique") > 1]


def _within(table: pd.DataFrame, column: str) -> pd.Series:
    """The values of a column minus the mean of their participant."""
    values = table[column].astype(float)
    return values - values.groupby(table["participant_id"]).transform("mean")


def _gap_years(table: pd.DataFrame) -> float:
    """The median over participants of the time between their first and last scan."""
    if "age" not in table or table["age"].isna().all():
        return NAN
    ages = table.groupby("participant_id")["age"]
    return float((ages.max() - ages.min()).astype(float).median())
