"""What is measured of a table of predictions, and one row of a table of results: a value, its interval, and how many people."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import auc_score_interval, participant_interval
from neurocohort.evaluation.metrics import (
    CLASSES_METRICS,
    CLASSIFICATION_METRICS,
    REGRESSION_METRICS,
    SEGMENTATION_METRICS,
    Metric,
    weighted_mean,
)

REGRESSION, CLASSIFICATION, SEGMENTATION = "regression", "classification", "segmentation"
SMALLEST_GROUP = 3  # participants; fewer say nothing about a group
POOLED = "all"
NETWORK = "network"
VALIDATION, HELD_OUT, EXTERNAL = "validation", "held-out", "external"
PROBABILITY = re.compile(r"probability_\d+")
KEY = ["cohort", "scan_id", "tissue"]  # of a row; only a segmentation has tissues
ABOUT = ["model", "cohort", "part", "group"]
FOUND = ["metric", "value", "ci_low", "ci_high", "interval", "n"]
COLUMNS = ABOUT + FOUND
DECIMALS = 6
AUCS = ("auc", "auc_macro")


@dataclass(frozen=True)
class Measure:
    """A metric with the ``target`` and the ``prediction`` of each row that it compares; ``usable``: (rows,) bool, those for
    which it is defined. Of more than two classes ``prediction`` is (rows, K). ``strata``: the classes, else None.
    """

    metric: Metric
    target: np.ndarray
    prediction: np.ndarray
    usable: np.ndarray
    strata: np.ndarray | None = None


def measures(table: pd.DataFrame, kind: str) -> dict[str, Measure]:
    """By name, every metric of a ``kind`` of task on the rows of ``table``, in the order of the results.

    A regression and a classification need target and prediction (or ``probability_0`` and upwards, of more than two classes).
    Of a segmentation the rows are comparisons already, so a measure is the mean of a column; the columns that the table has
    not are left out, and rows without a value (a distance to an empty surface) don't count.
    """
    if kind == SEGMENTATION:
        columns = {name: table[name].to_numpy(dtype=float) for name in SEGMENTATION_METRICS if name in table}
        return {name: Measure(_mean, values, values, np.isfinite(values)) for name, values in columns.items()}
    target, prediction = (table[name].to_numpy(dtype=float) for name in ("target", "prediction"))
    everywhere = np.ones(len(table), dtype=bool)
    if kind == REGRESSION:
        return {name: Measure(metric, target, prediction, everywhere) for name, metric in REGRESSION_METRICS.items()}
    if classes := probability_columns(table):
        codes, probabilities = target.astype(int), table[classes].to_numpy(dtype=float)
        return {
            name: Measure(metric, codes, probabilities, everywhere, codes) for name, metric in CLASSES_METRICS.items()
        }
    codes = (target > 0).astype(int)
    return {
        name: Measure(metric, codes, prediction, everywhere, codes) for name, metric in CLASSIFICATION_METRICS.items()
    }


def probability_columns(table: pd.DataFrame) -> list[str]:
    """The names of the columns with the probabilities of more than two classes, class 0 first; none for two."""
    return sorted(
        (name for name in table if PROBABILITY.fullmatch(name)), key=lambda name: int(name.rpartition("_")[2])
    )


def headline_metric(table: pd.DataFrame, kind: str) -> str:
    """The metric that a table is judged by, where one must do."""
    if kind == CLASSIFICATION:
        return "auc_macro" if probability_columns(table) else "auc"
    return {REGRESSION: "mae", SEGMENTATION: "dice"}[kind]


def estimate(name: str, measure: Measure, participants: np.ndarray, *, resamples: int, seed: int) -> dict:
    """metric, value, ci_low, ci_high, interval and n (participants with a usable row) of one ``measure``.

    ``participants``: (rows,). The interval is `participant_interval`'s; an AUC of 0 or 1, which has no distribution to
    resample, gets a score-type one (``newcombe``). Value and interval are NaN, and ``interval`` is ``none``, where the
    metric is not defined.
    """
    usable = measure.usable
    target, prediction, people = measure.target[usable], measure.prediction[usable], participants[usable]
    strata = None if measure.strata is None else measure.strata[usable]
    value = measure.metric(target, prediction) if len(people) else float("nan")
    low, high, method = float("nan"), float("nan"), "none"
    if np.isfinite(value):
        low, high, method = participant_interval(
            lambda weights: measure.metric(target, prediction, weights),
            people,
            resamples=resamples,
            seed=seed,
            strata=strata,
            weighted=True,
        )
    if name in AUCS and value in (0.0, 1.0) and low == high:
        (low, high), method = score_interval(value, target), "newcombe"
    return result(name, value, (low, high), method, len(set(people)))


def result(name: str, value: float, interval: tuple[float, float], method: str, n: int) -> dict:
    """The columns of FOUND, rounded."""
    low, high = interval
    values = {"value": value, "ci_low": low, "ci_high": high}
    return (
        {"metric": name}
        | {key: round(float(number), DECIMALS) for key, number in values.items()}
        | {"interval": method, "n": int(n)}
    )


def with_baselines(predictions: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """The network's rows and the baselines' in one table, by ``model``."""
    return pd.concat([predictions.assign(model=NETWORK), baselines], ignore_index=True)


def cross_validated(everything: pd.DataFrame, samples: pd.DataFrame) -> bool:
    """Whether scans of the split's part ``train`` were validated on, as they are in folds. ``samples``: samples.tsv."""
    key = ["cohort", "scan_id"]
    trained = pd.MultiIndex.from_frame(samples.loc[samples["part"] == "train", key])
    return bool(trained.isin(pd.MultiIndex.from_frame(everything.loc[everything["part"] == VALIDATION, key])).any())


def judged_parts(everything: pd.DataFrame) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Yield model, cohort, part and rows of what results may be told on; of several cohorts' held-out parts the whole too.

    A model that lacks one of these cohorts has no whole: it would be of other people than the network's. The validation part
    isn't among them: it chose the epoch, and a figure on it would flatter.
    """
    tested = everything[everything["part"] != VALIDATION]
    for (model, cohort, part), table in tested.groupby(["model", "cohort", "part"], sort=False):
        yield {"model": model, "cohort": cohort, "part": part}, table.reset_index(drop=True)
    held_out = tested[tested["part"] == HELD_OUT]
    cohorts = held_out["cohort"].nunique()
    if cohorts > 1:
        for model, table in held_out.groupby("model", sort=False):
            if table["cohort"].nunique() < cohorts:
                continue
            yield {"model": model, "cohort": POOLED, "part": HELD_OUT}, table.reset_index(drop=True)


def _mean(_: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    return weighted_mean(values, weights)


def score_interval(value: float, target: np.ndarray) -> tuple[float, float]:
    """Newcombe's interval of an AUC of 0 or 1. Of a mean over classes it is the mean of their limits, which is no narrower than
    the interval of the mean."""
    counts = np.bincount(target)
    cases = counts[1:] if len(counts) == 2 else counts
    limits = [auc_score_interval(value, int(count), int(len(target) - count)) for count in cases]
    low, high = np.mean(limits, axis=0)
    return float(low), float(high)
