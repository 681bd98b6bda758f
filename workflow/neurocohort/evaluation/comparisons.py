"""The network compared with each baseline on the same rows: a paired bootstrap of the difference, and the best baseline."""

from dataclasses import replace

import numpy as np
import pandas as pd

from neurocohort.evaluation.evaluate import whole_and_tissues
from neurocohort.evaluation.intervals import NO_INTERVAL, Bootstrap, Interval, participant_interval
from neurocohort.evaluation.measures import (
    AUCS,
    GIVEN,
    KEY,
    NETWORK,
    SEGMENTATION,
    JudgedPart,
    Measure,
    judged_parts,
    measures,
    score_interval,
    too_few,
    with_baselines,
)
from neurocohort.evaluation.metrics import HIGHER_IS_BETTER
from neurocohort.evaluation.rows import DECIMALS, ComparisonRow, table_of


def compare(predictions: pd.DataFrame, baselines: pd.DataFrame, kind: str, bootstrap: Bootstrap) -> pd.DataFrame:
    """comparisons.tsv: the network minus each baseline, by part and by metric that has a better direction.

    Columns: baseline, best, cohort, part, group, metric, network_value, baseline_value, difference (network minus baseline, in
    the metric's unit), ci_low, ci_high, interval, n (participants), in_favour_of. Both models are judged on the same resamples
    of participants, so that what makes a participant hard for both cancels out (a paired bootstrap). Rows that one of the two
    lacks are left out of their comparison.

    A perfect AUC minus that of a constant is the same in every resample, so that there is no bootstrap interval; the interval
    is that of the AUC (``newcombe``), minus 0.5.

    ``best`` is ``yes`` for the baseline with the best value of the metric on these rows, the first one of a tie, and for none
    where all targets are equal. It is chosen on the rows on which it is compared, which favours the baseline, never the
    network. Models from elsewhere (`GIVEN`) are compared too, but are never the best baseline. ``in_favour_of`` is ``network`` or
    ``baseline`` where the interval doesn't contain 0, else ``neither``. The tables are those of `evaluate`.
    """
    rows = []
    parts = list(judged_parts(with_baselines(predictions, baselines)))
    for network in (part for part in parts if part.model == NETWORK):
        place = (network.cohort, network.part)
        others = [part for part in parts if part.model != NETWORK and (part.cohort, part.part) == place]
        for group, chosen in whole_and_tissues(network.table, kind):
            found = [row for other in others for row in _differences(chosen, other, group, kind, bootstrap)]
            rows += _with_best(found) if kind == SEGMENTATION or chosen["target"].nunique() > 1 else found
    return table_of(rows, ComparisonRow)


def paired(network: pd.DataFrame, other: pd.DataFrame, key: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that both tables have, by the columns ``key``, in the order of the first. Raises ValueError for duplicate rows."""
    ours, theirs = (pd.MultiIndex.from_frame(table[key]) for table in (network, other))
    if ours.has_duplicates or theirs.has_duplicates:
        raise ValueError(f"a row occurs twice by {', '.join(key)}; expected each once to pair two models.")
    place = theirs.get_indexer(ours)
    return network[place >= 0].reset_index(drop=True), other.iloc[place[place >= 0]].reset_index(drop=True)


def difference(first: Measure, second: Measure, bootstrap: Bootstrap) -> tuple[float, Interval]:
    """The value of ``first`` minus that of ``second``, and its interval from a paired bootstrap.

    Both have the same rows in the same order. Rows in which one of them is not usable are left out of both.
    """
    usable = first.usable & second.usable
    ours, theirs = first.on(usable), second.on(usable)
    value = ours.value - theirs.value
    if not np.isfinite(value):
        return value, NO_INTERVAL
    return value, participant_interval(
        lambda weights: ours.resampled(weights) - theirs.resampled(weights), ours.participants, bootstrap, ours.strata
    )


def _differences(
    network: pd.DataFrame, other: JudgedPart, group: str, kind: str, bootstrap: Bootstrap
) -> list[ComparisonRow]:
    network, baseline = paired(network, other.table, [name for name in KEY if name in network])
    if too_few(network):
        return []
    theirs = measures(baseline, kind)
    return [
        _difference(name, measure, theirs[name], other, group, bootstrap)
        for name, measure in measures(network, kind).items()
        if name in HIGHER_IS_BETTER and name in theirs
    ]


def _difference(
    name: str, network: Measure, baseline: Measure, other: JudgedPart, group: str, bootstrap: Bootstrap
) -> ComparisonRow:
    usable = network.usable & baseline.usable
    ours, theirs = network.on(usable), baseline.on(usable)
    value, interval = difference(network, baseline, bootstrap)
    if (
        name in AUCS
        and ours.value in (0.0, 1.0)
        and interval.low == interval.high
        and not np.ptp(theirs.prediction, axis=0).any()
    ):
        low, high = score_interval(ours.value, ours.target)
        interval = Interval(low - theirs.value, high - theirs.value, "newcombe")
    better = value > 0 if HIGHER_IS_BETTER[name] else value < 0
    decided = interval.low > 0 or interval.high < 0
    return ComparisonRow(
        baseline=other.model,
        best="no",
        cohort=other.cohort,
        part=other.part,
        group=group,
        metric=name,
        network_value=ours.value,
        baseline_value=theirs.value,
        difference=value,
        ci_low=interval.low,
        ci_high=interval.high,
        interval=interval.method,
        n=len(set(ours.participants)),
        in_favour_of=(NETWORK if better else "baseline") if decided else "neither",
    )


def _with_best(rows: list[ComparisonRow]) -> list[ComparisonRow]:
    """The rows with one best baseline for each metric; predictions of other tools are no baselines.

    Not for targets that are all equal: the best baseline would be one that predicts this value for everybody.
    """
    best: dict[str, tuple[float, int]] = {}
    for place, row in enumerate(rows):
        if row.baseline.startswith(GIVEN):
            continue
        value = round(float(row.baseline_value), DECIMALS) * (1 if HIGHER_IS_BETTER[row.metric] else -1)
        if np.isfinite(value) and (row.metric not in best or value > best[row.metric][0]):
            best[row.metric] = value, place
    places = {place for _, place in best.values()}
    return [replace(row, best="yes" if place in places else "no") for place, row in enumerate(rows)]
