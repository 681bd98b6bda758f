"""The table of results: each metric with its interval, for the network and for every baseline, on the same rows."""

import re

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import auc_score_interval, participant_interval
from neurocohort.evaluation.metrics import CLASSES_METRICS, CLASSIFICATION_METRICS, REGRESSION_METRICS, Metric

SMALLEST_GROUP = 3  # participants; fewer say nothing about a group
POOLED = "all"
PROBABILITY = re.compile(r"probability_\d+")
COLUMNS = ["model", "cohort", "part", "group", "metric", "value", "ci_low", "ci_high", "interval", "n"]


def evaluate(
    predictions: pd.DataFrame, baselines: pd.DataFrame, kind: str, *, resamples: int, seed: int
) -> pd.DataFrame:
    """metrics.tsv: model, cohort, part, group, metric, value, ci_low, ci_high, interval, n (participants).

    ``predictions``: the network's rows; ``baselines``: the same columns with ``model`` first. Each part of each cohort is
    judged as a whole, and by site (by tissue for a segmentation); several trained cohorts' held-out parts also together, as
    cohort ``all``. A classification with columns ``probability_0`` and upwards has more than two classes. Every interval draws
    from the same seed, so models are compared on the same resamples. A perfect AUC, which has no distribution to resample,
    gets a score-type interval (``newcombe``).
    """
    everything = pd.concat([predictions.assign(model="network"), baselines], ignore_index=True)
    rows = []
    for (model, cohort, part), table in everything.groupby(["model", "cohort", "part"], sort=False):
        if part == "validation":
            continue  # it chose the epoch: a figure on it would flatter
        for group, chosen in _groups(table, kind):
            about = {"model": model, "cohort": cohort, "part": part, "group": group}
            rows += [about | found for found in _figures(chosen.reset_index(drop=True), kind, resamples, seed)]
    held_out = everything[everything["part"] == "held-out"]
    if held_out["cohort"].nunique() > 1:
        for model, table in held_out.groupby("model", sort=False):
            about = {"model": model, "cohort": POOLED, "part": "held-out", "group": "all"}
            rows += [about | found for found in _figures(table.reset_index(drop=True), kind, resamples, seed)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _groups(table: pd.DataFrame, kind: str):
    yield "all", table
    if kind == "segmentation":
        for tissue, chosen in table.groupby("tissue", sort=True):
            yield f"tissue={tissue}", chosen
    sites = table["site"].dropna().unique()
    if len(sites) > 1:
        for site in sorted(sites):
            yield f"site={site}", table[table["site"] == site]


def _figures(table: pd.DataFrame, kind: str, resamples: int, seed: int):
    people = table["participant_id"].to_numpy()
    if len(set(people)) < SMALLEST_GROUP:
        return
    metrics, target, prediction = _judged(table, kind)
    strata = target if kind == "classification" else None
    for name, metric in metrics.items():
        value = metric(target, prediction)
        low, high, method = float("nan"), float("nan"), "none"
        if np.isfinite(value):
            low, high, method = participant_interval(
                lambda rows, metric=metric: metric(target[rows], prediction[rows]),
                people,
                resamples=resamples,
                seed=seed,
                strata=strata,
            )
        if name in ("auc", "auc_macro") and value in (0.0, 1.0) and low == high:
            low, high = _score_interval(value, target)
            method = "newcombe"
        yield {
            "metric": name,
            "value": round(value, 6),
            "ci_low": round(low, 6),
            "ci_high": round(high, 6),
            "interval": method,
            "n": int(table["participant_id"].nunique()),
        }


def _judged(table: pd.DataFrame, kind: str) -> tuple[dict[str, Metric], np.ndarray, np.ndarray]:
    """The metrics, and the targets and predictions (rows first) that they compare."""
    if kind == "segmentation":
        dice = table["dice"].to_numpy()
        return {"dice": lambda _, dice: float(dice.mean())}, dice, dice  # its rows are comparisons already
    target, prediction = (table[name].to_numpy(dtype=float) for name in ("target", "prediction"))
    if kind == "regression":
        return REGRESSION_METRICS, target, prediction
    probabilities = [name for name in table if PROBABILITY.fullmatch(name)]
    if not probabilities:
        return CLASSIFICATION_METRICS, (target > 0).astype(int), prediction
    ordered = sorted(probabilities, key=lambda name: int(name.rpartition("_")[2]))
    return CLASSES_METRICS, target.astype(int), table[ordered].to_numpy(dtype=float)


def _score_interval(value: float, target: np.ndarray) -> tuple[float, float]:
    """Newcombe's interval; of a mean over classes the mean of theirs, which is no narrower than that of the mean."""
    counts = np.bincount(target)
    cases = counts[1:] if len(counts) == 2 else counts
    limits = [auc_score_interval(value, int(count), int(len(target) - count)) for count in cases]
    low, high = np.mean(limits, axis=0)
    return float(low), float(high)
