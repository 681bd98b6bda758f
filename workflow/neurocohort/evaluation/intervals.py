"""95 % intervals by resampling participants: bias-corrected and accelerated where possible, percentile where not."""

import warnings
from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

CONFIDENCE = 0.95


def participant_interval(
    statistic: Callable[[np.ndarray], float],
    participants: np.ndarray,
    *,
    resamples: int,
    seed: int,
    strata: np.ndarray | None = None,
) -> tuple[float, float, str]:
    """The interval of ``statistic``, a function of row numbers, when participants are drawn with replacement.

    ``participants``: (rows,) the person of each row; all rows of a person are drawn together. ``strata``: (rows,) classes that
    are drawn separately, each at its own size (as pROC does for the AUC), or None. Returns low, high and the method,
    ``bca`` (Efron 1987) or ``percentile`` where the distribution degenerates; NaN and ``none`` for fewer than two people.
    """
    rows_of, people_strata = {}, {}
    for row, person in enumerate(participants):
        rows_of.setdefault(person, []).append(row)
        people_strata[person] = strata[row] if strata is not None else 0
    groups = [[p for p in rows_of if people_strata[p] == value] for value in sorted(set(people_strata.values()))]
    if len(rows_of) < 2 or any(len(group) < 2 for group in groups):
        return float("nan"), float("nan"), "none"
    blocks = list(rows_of.values())
    number = {person: index for index, person in enumerate(rows_of)}
    data = tuple(np.array([number[person] for person in group]) for group in groups)
    single = len(blocks) == len(participants)
    row_of_block = np.array([block[0] for block in blocks])

    def of_people(*drawn: np.ndarray) -> float:
        people = np.concatenate(drawn).astype(int)
        return statistic(row_of_block[people] if single else np.concatenate([blocks[p] for p in people]))

    for method, name in (("BCa", "bca"), ("percentile", "percentile")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate distribution shows as NaN, and the next method is taken
            result = stats.bootstrap(
                data,
                of_people,
                n_resamples=resamples,
                confidence_level=CONFIDENCE,
                method=method,
                vectorized=False,
                rng=np.random.default_rng(seed),
            )
        low, high = result.confidence_interval
        if np.isfinite([low, high]).all():
            return float(low), float(high), name
    finite = result.bootstrap_distribution[np.isfinite(result.bootstrap_distribution)]
    if len(finite) < resamples / 2:
        return float("nan"), float("nan"), "none"
    low, high = np.quantile(finite, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high), "percentile"


def auc_score_interval(auc: float, cases: int, controls: int) -> tuple[float, float]:
    """The score-type interval of an AUC, after Newcombe 2006 (Statistics in Medicine 25, 559-573, method 5).

    A perfect separation has no resample that is less than perfect: its bootstrap interval would be a point, which no eight
    people warrant. Here the limits are the values from which the AUC found lies 1.96 of *their* standard errors away.
    """
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    half = (cases + controls) / 2 - 1

    def distance(true: float) -> float:
        spread = true * (1 - true) * (1 + half * (1 - true) / (2 - true) + half * true / (1 + true))
        return (auc - true) ** 2 - z**2 * spread / (cases * controls)

    low = 0.0 if auc <= 0 else float(optimize.brentq(distance, 0.0, auc - 1e-9 if auc < 1 else 1 - 1e-6))
    high = 1.0 if auc >= 1 else float(optimize.brentq(distance, auc + 1e-9, 1.0))
    return low, high
