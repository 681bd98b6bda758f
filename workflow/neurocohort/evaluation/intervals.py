"""95 % intervals by resampling participants: bias-corrected and accelerated where possible, else percentile."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

CONFIDENCE = 0.95
MOST_NUMBERS = 2_000_000  # drawn at a time: about 16 MB an array, for any number of participants
SMALLEST_TAIL = 1e-9
LARGEST_DEVIATION = 30.0  # standard errors; beyond it the normal tail is not a float any more


@dataclass(frozen=True)
class Bootstrap:
    """How participants are resampled: the number of ``resamples`` and the ``seed`` of the draws."""

    resamples: int
    seed: int


class Interval(NamedTuple):
    """Limits of an interval and its method: ``bca``, ``percentile``, ``newcombe``, ``wilson`` or ``none``."""

    low: float
    high: float
    method: str


NO_INTERVAL = Interval(float("nan"), float("nan"), "none")


def participant_interval(
    statistic: Callable[[np.ndarray], np.ndarray],
    participants: np.ndarray,
    bootstrap: Bootstrap,
    strata: np.ndarray | None = None,
) -> Interval:
    """The interval of ``statistic`` when participants are drawn with replacement (``bootstrap``).

    Args:
        statistic: Takes weights (draws, rows), how often each row was drawn, and returns (draws,) values.
        participants: The person of each row, (rows,); all rows of a person are drawn together.
        strata: Classes (rows,) that are drawn separately, each at its own size (as pROC does for the AUC).

    Returns:
        ``bca`` (Efron 1987), or ``percentile`` where the distribution degenerates; none for fewer than two people in a class.
    """
    people, groups = _people(participants, strata)
    if min(map(len, groups), default=0) < 2:
        return NO_INTERVAL
    count = sum(map(len, groups))

    def of_people(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        together = np.concatenate(drawn, axis=axis)
        values = statistic(_weights(together.reshape(-1, together.shape[-1]), people, count))
        return np.asarray(values, dtype=float).reshape(together.shape[:-1])

    tail = _tail(count)
    result: Any = None
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate distribution gives NaN, and the next method is tried
            result = stats.bootstrap(
                groups,
                of_people,
                n_resamples=0 if result else bootstrap.resamples,
                batch=_batch(people, count),
                confidence_level=1 - 2 * tail,
                method=method,
                vectorized=True,
                bootstrap_result=result,
                rng=np.random.default_rng(bootstrap.seed),
            )
        low, high = result.confidence_interval
        if np.isfinite([low, high]).all():
            return Interval(float(low), float(high), method.lower())
    finite = result.bootstrap_distribution[np.isfinite(result.bootstrap_distribution)]
    if len(finite) < bootstrap.resamples / 2:
        return NO_INTERVAL
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(float(low), float(high), "percentile")


def drawn_weights(
    participants: np.ndarray, bootstrap: Bootstrap, strata: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield how often each row was drawn, (draws, rows), in batches until all resamples were drawn; for bands around curves.

    ``participants`` and ``strata``: see `participant_interval`.
    """
    people, groups = _people(participants, strata)
    count, generator = sum(map(len, groups)), np.random.default_rng(bootstrap.seed)
    batch = _batch(people, count)
    for start in range(0, bootstrap.resamples, batch):
        draws = min(batch, bootstrap.resamples - start)
        drawn = [group[generator.integers(0, len(group), (draws, len(group)))] for group in groups]
        yield _weights(np.concatenate(drawn, axis=-1), people, count)


def percentile_band(values: np.ndarray, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Low and high, (points,) each, of ``values`` (draws, points): pointwise expanded percentiles for ``people`` participants.

    A point is computed from the draws in which it is defined (not NaN), and is NaN where there is none.
    """
    tail = _tail(people)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an all-NaN point
        low, high = np.nanquantile(values, [tail, 1 - tail], axis=0)
    return low, high


def simultaneous_band(values: np.ndarray, estimate: np.ndarray, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Low and high, (points,) each, that contain all points together with 95 % confidence, by the maximum over the points.

    The largest deviation of a draw from the estimate, in standard errors of its point, gives one factor for all points
    (Romano and Wolf 2005, Econometrica 73, 1237-1282). A point that never varies has no width.

    Args:
        values: The draws, (draws, points).
        estimate: The value of each point, (points,).
        people: Number of participants.
    """
    errors = values.std(axis=0)
    varying = errors > 0
    if not varying.any():
        return estimate.copy(), estimate.copy()
    largest = (np.abs(values - estimate)[:, varying] / errors[varying]).max(axis=1)
    normal = min(float(np.quantile(largest, CONFIDENCE)), LARGEST_DEVIATION)
    # Expanded like the percentiles of `_tail`: Student's quantile in place of the normal one, of an unbiased variance.
    factor = float(stats.t.isf(stats.norm.sf(normal), people - 1)) * np.sqrt(people / (people - 1))
    half = factor * errors
    return estimate - half, estimate + half


def wilson_interval(proportion: float, n: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a ``proportion`` of ``n``; NaN where ``n`` is 0.

    A proportion of 0 or 1 has an interval too, unlike its bootstrap.
    """
    if n <= 0 or not np.isfinite(proportion):
        return float("nan"), float("nan")
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    middle = (proportion + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(proportion * (1 - proportion) / n + z**2 / (4 * n**2))
    # At 0 and 1 the limit equals the proportion except for rounding errors.
    low = 0.0 if proportion <= 0 else float(middle - half)
    return low, 1.0 if proportion >= 1 else float(middle + half)


def auc_score_interval(auc: float, cases: int, controls: int) -> tuple[float, float]:
    """The score-type interval of an AUC (Newcombe 2006, Statistics in Medicine 25, 559-573, method 5).

    All resamples of a perfect separation are perfect, so its bootstrap interval would be a single point, even for eight
    people. The limits here are the values from which ``auc`` differs by 1.96 of *their* standard errors.
    """
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    half = (cases + controls) / 2 - 1

    def distance(true: float) -> float:
        spread = true * (1 - true) * (1 + half * (1 - true) / (2 - true) + half * true / (1 + true))
        return (auc - true) ** 2 - z**2 * spread / (cases * controls)

    low = 0.0 if auc <= 0 else float(optimize.brentq(distance, 0.0, auc - 1e-9 if auc < 1 else 1 - 1e-6))
    high = 1.0 if auc >= 1 else float(optimize.brentq(distance, auc + 1e-9, 1.0))
    return low, high


def _people(participants: np.ndarray, strata: np.ndarray | None) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The number of each row's person, (rows,), in the order of appearance, and the numbers of each stratum's people."""
    people, names = pd.factorize(participants)
    of_person = np.zeros(len(names), dtype=int)
    if strata is not None:
        of_person[people] = np.unique(strata, return_inverse=True)[1]
    return people, tuple(np.flatnonzero(of_person == value) for value in np.unique(of_person))


def _batch(people: np.ndarray, count: int) -> int:
    """How many draws to compute at a time."""
    return max(1, MOST_NUMBERS // max(count, len(people)))


def _weights(drawn: np.ndarray, people: np.ndarray, count: int) -> np.ndarray:
    """(draws, rows) float64 from the people drawn, (draws, count or fewer)."""
    offsets = count * np.arange(len(drawn))[:, None]
    counts = np.bincount((drawn + offsets).ravel(), minlength=count * len(drawn)).reshape(len(drawn), count)
    return counts[:, people].astype(float)


def _tail(count: int) -> float:
    """The probability outside the interval on each side, for resamples of ``count`` people.

    It is less than 2.5 %, by the ratio of Student's interval of a mean to the normal interval with the biased variance of a
    bootstrap (expanded percentiles: Hesterberg 2015, The American Statistician 69, 371-386): 2.2 % for 60 people, 1.1 % for 12.
    """
    student = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
    return max(float(stats.norm.cdf(-np.sqrt(count / (count - 1)) * student)), SMALLEST_TAIL)
