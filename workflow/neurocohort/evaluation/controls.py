"""Whether an experiment that was trained on permuted targets is at chance on the true ones, as it must be."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from neurocohort.errors import InputError
from neurocohort.evaluation.intervals import CONFIDENCE
from neurocohort.evaluation.measures import CLASSIFICATION, HELD_OUT, NETWORK, POOLED, REGRESSION
from neurocohort.evaluation.rows import DECIMALS

CHANCE_AUC = 0.5
METRICS = {REGRESSION: ("mae",), CLASSIFICATION: ("auc", "auc_macro")}
CONSTANT = "mean"  # the baseline that predicts the training mean


@dataclass(frozen=True)
class ControlResult:
    """The content of control.json: a metric with its interval, its value at chance, and whether the interval covers it.

    ``holds`` and the numbers are None where the metric is missing; ``sentence`` states the result.
    """

    metric: str
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    chance: float | None = None
    holds: bool | None = None
    sentence: str = ""


def chance_holds(metrics: pd.DataFrame | Sequence[pd.DataFrame], kind: str) -> ControlResult:
    """Compare the result of a control with chance.

    A classification is at chance where the 95 % interval of its AUC (``auc_macro`` for more than two classes) covers 0.5. A
    regression is at chance unless the interval of its mean absolute error lies below the error of predicting the training mean.
    (Its correlation would not do: a network that learned nothing predicts nearly the mean, and the small rest correlates with
    the truth in one direction or the other. An error above that of the mean is no fault: it comes from learned noise.)

    The interval of one table shows how the result depends on the held-out participants, not on the permutation; with few
    participants the permutation matters as much. For several permutations the value is their mean, and the interval combines
    Student's interval from the spread over the permutations with the mean half-width of their own intervals.

    Args:
        metrics: The metrics.tsv of one control, or of one for each permutation.
        kind: The task.

    Raises:
        InputError: For a segmentation, which has no control.
    """
    if kind not in METRICS:
        raise InputError(f"`control` is for a regression or a classification; found {kind}. Leave it out.")
    tables = [metrics] if isinstance(metrics, pd.DataFrame) else list(metrics)
    found = [result for table in tables if (result := _held_out(table, kind))]
    if not found or len(found) < len(tables):
        sentence = "The control can't be judged: its metric on the held-out part, or the interval, is missing."
        return ControlResult(METRICS[kind][0], sentence=sentence)
    name = found[0][0]
    values, lows, highs, chances = np.array([numbers for _, numbers in found]).T
    value, chance = float(values.mean()), float(chances.mean())
    low = value - _half_width(values, values - lows)
    high = value + _half_width(values, highs - values)
    holds = bool(high >= chance) if kind == REGRESSION else bool(low <= chance <= high)
    over = f" over {len(tables)} permutations" if len(tables) > 1 else ""
    numbers = f"{name} {value:.3f} [{low:.3f}, {high:.3f}]{over}, chance {chance:.3f}"
    if holds:
        sentence = f"Trained on permuted targets the network is at chance on the true ones: {numbers}."
    else:
        fix = "Look for a leak" + ("." if len(tables) > 1 else ", and see whether other permutations end there too.")
        sentence = f"Trained on permuted targets the network is not at chance on the true ones: {numbers}. {fix}"
    value, low, high, chance = (round(number, DECIMALS) for number in (value, low, high, chance))
    return ControlResult(name, value, low, high, chance, holds, sentence)


def _held_out(metrics: pd.DataFrame, kind: str) -> tuple[str, list[float]] | None:
    """Metric, and value, its interval and the value at chance, of the network on the held-out part."""
    rows = metrics[(metrics["part"] == HELD_OUT) & (metrics["group"] == "all") & metrics["metric"].isin(METRICS[kind])]
    cohort = POOLED if (rows["cohort"] == POOLED).any() else next(iter(rows["cohort"]), None)
    rows = rows[rows["cohort"] == cohort].set_index("model")
    if NETWORK not in rows.index:
        return None
    chance = CHANCE_AUC if kind == CLASSIFICATION else rows["value"].get(CONSTANT, np.nan)
    numbers = [float(number) for number in (*rows.loc[NETWORK, ["value", "ci_low", "ci_high"]], chance)]
    return (str(rows.loc[NETWORK, "metric"]), numbers) if np.isfinite(numbers).all() else None


def _half_width(values: np.ndarray, widths: np.ndarray) -> float:
    if len(values) == 1:
        return float(widths[0])
    student = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(np.hypot(student, widths.mean()))
