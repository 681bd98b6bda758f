"""Whether the participants who were excluded differ from those who were kept: counts, fractions and tests, a variable each."""

import numpy as np
import pandas as pd
from scipy import stats

EXCLUDED_COLUMNS = ["variable", "level", "excluded", "kept", "fraction_excluded", "test", "p", "p_holm"]
FEWEST = 3  # participants on a side: fewer are counted, and not compared
TABLES = 9999  # random ones for Fisher's test of more than two levels
NOT_KNOWN = "not known"
MANN_WHITNEY, FISHER = "mann_whitney", "fisher"


def excluded_against_kept(people: pd.DataFrame, excluded: np.ndarray, seed: int) -> pd.DataFrame:
    """A row a level of every variable of ``people`` (a row a participant): how many were excluded, how many kept.

    ``people``: numbers, compared by the Mann-Whitney U test, have one level ``mean (SD)`` with that text in ``excluded`` and
    ``kept``; all other columns hold levels (text or an ordered categorical), compared by Fisher's exact test, which draws TABLES
    tables from ``seed`` where there are more than two levels. ``excluded``: bool, of the rows of ``people``.

    Columns: EXCLUDED_COLUMNS. ``fraction_excluded`` is of the level's participants, 0 to 1. ``p_holm``: corrected by Holm (1979)
    for the tests of this table. Missing values are a level ``not known`` and take no part in the test. A variable without
    two known levels is left out; p is NaN where FEWEST participants aren't known on either side.
    """
    tables = []
    for name in people:
        values = people[name]
        numeric = pd.api.types.is_numeric_dtype(values)
        table = _numbers(values, excluded) if numeric else _levels(values, excluded, seed)
        if table is not None:
            tables.append(table.assign(variable=name))
    if not tables:
        return pd.DataFrame(columns=EXCLUDED_COLUMNS)
    tested = [table["p"].iloc[0] for table in tables]
    for table, p in zip(tables, holm(tested), strict=True):
        table["p_holm"] = p
    return pd.concat(tables, ignore_index=True)[EXCLUDED_COLUMNS]


def holm(values: list[float]) -> list[float]:
    """P values corrected for their number by Holm's step-down procedure (1979); NaN is no test and stays."""
    known = sorted(
        (index for index, value in enumerate(values) if not np.isnan(value)), key=lambda index: values[index]
    )
    corrected, largest = [float("nan")] * len(values), 0.0
    for place, index in enumerate(known):
        largest = max(largest, min(1.0, values[index] * (len(known) - place)))
        corrected[index] = largest
    return corrected


def _numbers(values: pd.Series, excluded: np.ndarray) -> pd.DataFrame | None:
    known = values.notna().to_numpy()
    if not known.any():
        return None
    out, kept = values[known & excluded].to_numpy(float), values[known & ~excluded].to_numpy(float)
    p = float("nan")
    if min(len(out), len(kept)) >= FEWEST:
        p = float(stats.mannwhitneyu(out, kept).pvalue)
    row = {"level": "mean (SD)", "excluded": _mean_sd(out), "kept": _mean_sd(kept), "fraction_excluded": float("nan")}
    return pd.DataFrame([row | {"test": MANN_WHITNEY, "p": p}])


def _mean_sd(values: np.ndarray) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}" if len(values) else "n/a"
    return f"{values.mean():.1f} ({values.std(ddof=1):.1f})"


def _levels(values: pd.Series, excluded: np.ndarray, seed: int) -> pd.DataFrame | None:
    ordered = isinstance(values.dtype, pd.CategoricalDtype)
    levels = [level for level in (values.cat.categories if ordered else _in_order(values)) if (values == level).any()]
    if len(levels) < 2:
        return None
    counts = np.array(
        [[(excluded & (values == level)).sum(), (~excluded & (values == level)).sum()] for level in levels]
    )
    p = float("nan")
    if counts.sum(axis=0).min() >= FEWEST:
        method = None
        if len(levels) > 2:
            method = stats.MonteCarloMethod(n_resamples=TABLES, rng=np.random.default_rng(seed))
        p = float(stats.fisher_exact(counts, method=method).pvalue)
    missing = values.isna().to_numpy()
    if missing.any():
        levels, counts = (
            [*levels, NOT_KNOWN],
            np.vstack([counts, [(excluded & missing).sum(), (~excluded & missing).sum()]]),
        )
    return pd.DataFrame(
        {
            "level": levels,
            "excluded": [str(count) for count in counts[:, 0]],
            "kept": [str(count) for count in counts[:, 1]],
            "fraction_excluded": (counts[:, 0] / counts.sum(axis=1)).round(4),
            "test": FISHER,
            "p": p,
        }
    )


def _in_order(values: pd.Series) -> list[str]:
    """The known levels, numbers by size and before texts."""

    def key(level: str) -> tuple:
        try:
            return (0, float(level), level)
        except ValueError:
            return (1, 0.0, level)

    return sorted(map(str, values.dropna().unique()), key=key)
