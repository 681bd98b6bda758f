"""The network against each baseline on the same rows: a paired bootstrap of the difference, and which baseline is the best."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import participant_interval
from neurocohort.evaluation.measures import (
    AUCS,
    DECIMALS,
    KEY,
    NETWORK,
    SEGMENTATION,
    SMALLEST_GROUP,
    Measure,
    judged_parts,
    measures,
    score_interval,
    with_baselines,
)
from neurocohort.evaluation.metrics import HIGHER_IS_BETTER

COMPARISON_COLUMNS = ["baseline", "best", "cohort", "part", "group", "metric", "network_value", "baseline_value"]
COMPARISON_COLUMNS += ["difference", "ci_low", "ci_high", "interval", "n", "in_favour_of"]


def compare(
    predictions: pd.DataFrame, baselines: pd.DataFrame, kind: str, *, resamples: int, seed: int
) -> pd.DataFrame:
    """comparisons.tsv: for each baseline, part and metric with a better direction the network minus the baseline.

    Columns: baseline, best, cohort, part, group, metric, network_value, baseline_value, difference (network minus baseline, in
    the metric's unit), ci_low, ci_high, interval, n (participants), in_favour_of. Each resample of participants is drawn once
    and both are judged on it, so what makes a participant hard for both cancels out (a paired bootstrap).

    A perfect AUC against a constant is the same in every resample, so the bootstrap has no interval to give: it is the AUC's
    own (``newcombe``), less the constant's 0.5.

    ``best``: ``yes`` for the baseline with the best value of the metric on these rows, the first of several; for none where all
    targets are the same. It is chosen on
    the rows that it is compared on, which flatters the baseline, never the network. ``in_favour_of``: ``network`` or
    ``baseline`` where the interval doesn't hold 0, else ``neither``. Tables as for `evaluate`; rows that one of the two lacks
    are left out of their comparison.
    """
    rows = []
    everything = with_baselines(predictions, baselines)
    key = [name for name in KEY if name in everything]
    parts = {(about["model"], about["cohort"], about["part"]): table for about, table in judged_parts(everything)}
    for (model, cohort, part), network in parts.items():
        if model != NETWORK:
            continue
        others = {name: table for (name, *where), table in parts.items() if name != NETWORK and where == [cohort, part]}
        for group, chosen in _groups(network, kind):
            found = []
            for name, table in others.items():
                about = {"baseline": name, "cohort": cohort, "part": part, "group": group}
                found += [about | figure for figure in _differences(chosen, table, key, kind, resamples, seed)]
            rows += _with_best(found, tells_apart=kind == SEGMENTATION or chosen["target"].nunique() > 1)
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS)


def paired(network: pd.DataFrame, other: pd.DataFrame, key: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that both tables have, by the columns of ``key``, in the order of the first. Raises ValueError for a row twice."""
    ours, theirs = (pd.MultiIndex.from_frame(table[key]) for table in (network, other))
    if ours.has_duplicates or theirs.has_duplicates:
        raise ValueError(f"a row stands twice by {', '.join(key)}; expected each once to pair two models.")
    place = theirs.get_indexer(ours)
    return network[place >= 0].reset_index(drop=True), other.iloc[place[place >= 0]].reset_index(drop=True)


def _groups(table: pd.DataFrame, kind: str) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "all", table
    if kind == SEGMENTATION:
        for tissue, chosen in table.groupby("tissue", sort=True):
            yield f"tissue={tissue}", chosen


def _differences(
    network: pd.DataFrame, baseline: pd.DataFrame, key: list[str], kind: str, resamples: int, seed: int
) -> list[dict]:
    network, baseline = paired(network, baseline, key)
    if network["participant_id"].nunique() < SMALLEST_GROUP:
        return []
    people, theirs = network["participant_id"].to_numpy(), measures(baseline, kind)
    return [
        _difference(name, measure, theirs[name], people, resamples, seed)
        for name, measure in measures(network, kind).items()
        if name in HIGHER_IS_BETTER and name in theirs
    ]


def _difference(name: str, ours: Measure, theirs: Measure, people: np.ndarray, resamples: int, seed: int) -> dict:
    usable = ours.usable & theirs.usable
    target, prediction, other = ours.target[usable], ours.prediction[usable], theirs.prediction[usable]
    their_target = theirs.target[usable]

    def both(weights: np.ndarray | None = None) -> tuple:
        return ours.metric(target, prediction, weights), theirs.metric(their_target, other, weights)

    value, their_value = both() if usable.any() else (float("nan"), float("nan"))
    difference = value - their_value
    low, high, method = float("nan"), float("nan"), "none"
    if np.isfinite(difference):
        low, high, method = participant_interval(
            lambda weights: np.subtract(*both(weights)),
            people[usable],
            resamples=resamples,
            seed=seed,
            strata=None if ours.strata is None else ours.strata[usable],
            weighted=True,
        )
    if name in AUCS and value in (0.0, 1.0) and low == high and not np.ptp(other, axis=0).any():
        (low, high), method = np.subtract(score_interval(value, target), their_value), "newcombe"
    numbers = {"network_value": value, "baseline_value": their_value, "difference": difference}
    numbers |= {"ci_low": low, "ci_high": high}
    better = difference > 0 if HIGHER_IS_BETTER[name] else difference < 0
    decided = low > 0 or high < 0
    return (
        {"metric": name}
        | {key: round(float(number), DECIMALS) for key, number in numbers.items()}
        | {"interval": method, "n": len(set(people[usable]))}
        | {"in_favour_of": (NETWORK if better else "baseline") if decided else "neither"}
    )


def _with_best(rows: list[dict], *, tells_apart: bool) -> list[dict]:
    """The rows with ``best``, of each metric one; none unless the targets differ (``tells_apart``): among people of one class, or
    of one age, whatever predicts that value for everybody would be the best."""
    for metric in dict.fromkeys(row["metric"] for row in rows):
        own = [row | {"place": index} for index, row in enumerate(rows) if row["metric"] == metric]
        sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
        defined = [row for row in own if np.isfinite(row["baseline_value"])]
        best = max(defined, key=lambda row: sign * row["baseline_value"])["place"] if defined and tells_apart else None
        for row in own:
            rows[row["place"]]["best"] = "yes" if row["place"] == best else "no"
    return rows
