"""Whether excluded participants differ from those who were kept: counts, fractions and a test for each variable."""

import numpy as np
import pandas as pd
from scipy import stats

EXCLUDED_COLUMNS = ["variable", "level", "excluded", "kept", "fraction_excluded", "test", "p", "p_holm"]
FEWEST = 3  # participants on each side for a test; fewer are only counted
TABLES = 9999  # random tables for Fisher's test of more than two levels
NOT_KNOWN = "not known"
MANN_WHITNEY, FISHER = "mann_whitney", "fisher"


def excluded_against_kept(people: pd.DataFrame, excluded: np.ndarray, seed: int) -> pd.DataFrame:
    """The number of excluded and kept participants at each level of every variable.

    Args:
        people: One row for each participant. Numbers are compared by the Mann-Whitney U test, and have one level ``mean (SD)``
            with that text in ``excluded`` and ``kept``. Other columns hold levels (text or an ordered categorical), compared by
            Fisher's exact test.
        excluded: Whether each row of ``people`` is excluded, bool.
        seed: Seed of the TABLES random tables that Fisher's test draws for more than two levels.

    Returns:
        EXCLUDED_COLUMNS. ``fraction_excluded`` is that of the level's participants, 0 to 1. ``p_holm`` is corrected (Holm 1979)
        for the tests of this table. Missing values are a level ``not known`` that is not tested. Variables with fewer than two
        known levels are left out; p is NaN where a side has fewer than FEWEST known values.
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
    corrected = holm([table["p"].iloc[0] for table in tables])
    tested = [table.assign(p_holm=p) for table, p in zip(tables, corrected, strict=True)]
    return pd.concat(tested, ignore_index=True)[EXCLUDED_COLUMNS]


def holm(values: list[float]) -> list[float]:
    """P values corrected for their number by Holm's step-down procedure (1979); NaN is not counted and stays NaN."""
    p = np.array(values, dtype=float)
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]  # NaN is sorted last
    corrected = np.full(len(p), np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected.tolist()


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
        levels.append(NOT_KNOWN)
        counts = np.vstack([counts, [(excluded & missing).sum(), (~excluded & missing).sum()]])
    return pd.DataFrame(
        {
            "level": levels,
            "excluded": counts[:, 0].astype(str),
            "kept": counts[:, 1].astype(str),
            "fraction_excluded": (counts[:, 0] / counts.sum(axis=1)).round(4),
            "test": FISHER,
            "p": p,
        }
    )


def _in_order(values: pd.Series) -> list[str]:
    """The known levels, numbers by size and before texts."""
    levels = pd.Series(sorted(map(str, values.dropna().unique())), dtype=object)
    return levels.iloc[pd.to_numeric(levels, errors="coerce").argsort(kind="stable")].tolist()
