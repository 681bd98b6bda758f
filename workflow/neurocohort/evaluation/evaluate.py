"""The table of results: each metric with its interval, for the network and for every baseline, on the same rows."""

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import auc_score_interval, participant_interval
from neurocohort.evaluation.metrics import CLASSIFICATION_METRICS, REGRESSION_METRICS

SMALLEST_GROUP = 3  # participants; fewer say nothing about a group
POOLED = "all"
COLUMNS = ["model", "cohort", "part", "group", "metric", "value", "ci_low", "ci_high", "interval", "n"]


def evaluate(
    predictions: pd.DataFrame, baselines: pd.DataFrame, kind: str, *, resamples: int, seed: int
) -> pd.DataFrame:
    """metrics.tsv: model, cohort, part, group, metric, value, ci_low, ci_high, interval, n (participants).

    ``predictions``: the network's rows; ``baselines``: the same columns with ``model`` first. Each part of each cohort is
    judged as a whole, and by site (by tissue for a segmentation); several trained cohorts' held-out parts also together, as
    cohort ``all``. Every interval draws from the same seed, so models are
    compared on the same resamples. A perfect AUC, which has no distribution to resample, gets a score-type interval
    (``newcombe``).
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
    strata = None
    if kind == "segmentation":
        dice = table["dice"].to_numpy()
        statistics = {"dice": lambda rows: float(dice[rows].mean())}
    else:
        target, prediction = (table[name].to_numpy(dtype=float) for name in ("target", "prediction"))
        metrics = REGRESSION_METRICS if kind == "regression" else CLASSIFICATION_METRICS
        statistics = {
            name: (lambda rows, metric=metric: metric(target[rows], prediction[rows]))
            for name, metric in metrics.items()
        }
        strata = (target > 0).astype(int) if kind == "classification" else None
    every_row = np.arange(len(table))
    for name, statistic in statistics.items():
        value = statistic(every_row)
        low, high, method = float("nan"), float("nan"), "none"
        if np.isfinite(value):
            low, high, method = participant_interval(statistic, people, resamples=resamples, seed=seed, strata=strata)
        if name == "auc" and value in (0.0, 1.0) and low == high:
            low, high = auc_score_interval(value, int((target > 0).sum()), int((target <= 0).sum()))
            method = "newcombe"
        yield {
            "metric": name,
            "value": round(value, 6),
            "ci_low": round(low, 6),
            "ci_high": round(high, 6),
            "interval": method,
            "n": int(table["participant_id"].nunique()),
        }
