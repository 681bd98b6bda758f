"""Whether an experiment that was trained on permuted targets is at chance on the true ones, as it must be."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from neurocohort.errors import InputError
from neurocohort.evaluation.evaluate import POOLED
from neurocohort.evaluation.intervals import CONFIDENCE

CHANCE_AUC = 0.5
METRICS = {"regression": ("mae",), "classification": ("auc", "auc_macro")}
CONSTANT = "mean"  # the baseline whose error is that of knowing nothing


def chance_holds(metrics: pd.DataFrame | Sequence[pd.DataFrame], kind: str) -> dict:
    """A record with metric, value, ci_low, ci_high, chance, holds and sentence, from the metrics.tsv of a control.

    A classification holds chance where the 95 % interval of its AUC (``auc_macro`` for more than two classes) covers 0.5. A
    regression holds chance where the interval of its mean absolute error doesn't lie below the error of predicting the
    training mean. (Not its correlation: a network that learned nothing predicts nearly the mean, and the rest, however small,
    correlates with the truth one way or the other. Nor is it a fault to be worse than the mean: learned noise is.)

    The interval of one table tells how the result depends on who was held out, not on the permutation that was drawn; with
    few participants that matters as much. Given a table for each of several permutations, the value is their mean, and the
    interval has both parts: Student's from the spread over the permutations, and the mean half-width of the tables' own.

    ``holds`` is None where the numbers are missing. Raises InputError for a segmentation, which has no control.
    """
    if kind not in METRICS:
        raise InputError(f"`control` is for a regression or a classification; found {kind}. Leave it out.")
    tables = [metrics] if isinstance(metrics, pd.DataFrame) else list(metrics)
    figures = [_figures(table, kind) for table in tables]
    record = {"metric": METRICS[kind][0], "value": None, "ci_low": None, "ci_high": None, "chance": None, "holds": None}
    if not figures or any(found is None for found in figures):
        return record | {
            "sentence": "The control can't be judged: its metric on the held-out part, or the interval, is missing."
        }
    name = figures[0][0]
    values, lows, highs, chances = np.array([found[1:] for found in figures]).T
    value, chance = float(values.mean()), float(chances.mean())
    below, above = (_half_width(values, widths) for widths in (values - lows, highs - values))
    low, high = value - below, value + above
    holds = bool(high >= chance) if kind == "regression" else bool(low <= chance <= high)
    record |= {"metric": name, "chance": round(chance, 6), "holds": holds}
    record |= {"value": round(value, 6), "ci_low": round(low, 6), "ci_high": round(high, 6)}
    over = f" over {len(tables)} permutations" if len(tables) > 1 else ""
    told = f"{name} {value:.3f} [{low:.3f}, {high:.3f}]{over}, chance {chance:.3f}"
    if holds:
        return record | {"sentence": f"Trained on permuted targets the network is at chance on the true ones: {told}."}
    fix = "Look for a leak" + ("." if len(tables) > 1 else ", and see whether other permutations end there too.")
    return record | {
        "sentence": f"Trained on permuted targets the network is not at chance on the true ones: {told}. {fix}"
    }


def _figures(metrics: pd.DataFrame, kind: str) -> tuple[str, float, float, float, float] | None:
    """Metric, value, its interval and the value at chance, of the network on the held-out part."""
    rows = metrics[
        (metrics["part"] == "held-out") & (metrics["group"] == "all") & metrics["metric"].isin(METRICS[kind])
    ]
    cohort = POOLED if (rows["cohort"] == POOLED).any() else next(iter(rows["cohort"]), None)
    rows = rows[rows["cohort"] == cohort].set_index("model")
    if "network" not in rows.index:
        return None
    network = rows.loc["network"]
    if kind == "regression":
        chance = float(rows.loc[CONSTANT, "value"]) if CONSTANT in rows.index else float("nan")
    else:
        chance = CHANCE_AUC
    numbers = (float(network["value"]), float(network["ci_low"]), float(network["ci_high"]), chance)
    return (str(network["metric"]), *numbers) if np.isfinite(numbers).all() else None


def _half_width(values: np.ndarray, widths: np.ndarray) -> float:
    if len(values) == 1:
        return float(widths[0])
    student = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(np.hypot(student, widths.mean()))
