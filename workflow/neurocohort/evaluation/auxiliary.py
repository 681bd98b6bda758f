"""The auxiliary variables that networks learned besides their target, tested on the scans of each tested part that have a value.

A head is a linear function of a network's features, so that its predictions follow from features.npz and run.json.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from neurocohort.dataset.auxiliary import PREFIX
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import (
    CLASSIFICATION,
    EXTERNAL,
    HELD_OUT,
    NETWORK,
    REGRESSION,
    JudgedPart,
    estimates,
)
from neurocohort.evaluation.rows import NAN, DetailRow, Estimate

SETTING = "auxiliary"  # of details.tsv, before the variable: `auxiliary: sex`
SHOWN = {REGRESSION: ("mae", "r2", "pearson_r"), CLASSIFICATION: ("auc", "balanced_accuracy")}
TESTED = (HELD_OUT, EXTERNAL)


@dataclass(frozen=True)
class MemberFeatures:
    """The features of one network and its heads.

    Args:
        scans: Columns cohort, part and scan_id, a row for each scan.
        values: (rows, features).
        heads: By variable, the head as run.json has it.
    """

    scans: pd.DataFrame
    values: np.ndarray
    heads: Mapping[str, Mapping[str, Any]]


def auxiliary_predictions(members: Sequence[MemberFeatures], variable: str) -> pd.DataFrame:
    """The mean of the networks' predictions: cohort, part, scan_id and prediction, a value or the probability of class 1."""
    tables = []
    for member in members:
        head = member.heads[variable]
        outputs = member.values.astype(np.float64) @ np.asarray(head["coefficients"]) + head["intercept"]
        predicted = expit(outputs) if head["kind"] == CLASSIFICATION else outputs * head["scale"] + head["mean"]
        tables.append(member.scans[["cohort", "part", "scan_id"]].assign(prediction=predicted))
    found = pd.concat(tables, ignore_index=True)
    found = found[found["part"].isin(TESTED)]
    return found.groupby(["cohort", "part", "scan_id"], as_index=False, sort=True)["prediction"].mean()


def auxiliary_details(
    members: Sequence[MemberFeatures], samples: pd.DataFrame, variables: Iterable[str], bootstrap: Bootstrap
) -> Iterator[DetailRow]:
    """Rows of details.tsv: the metrics of each auxiliary variable in each cohort and tested part, with intervals.

    Args:
        members: The networks whose predictions are averaged.
        samples: samples.tsv, with the variables' columns.
        variables: Their names.
        bootstrap: Number of resamples and seed.
    """
    for variable in variables:
        heads = [member.heads[variable] for member in members]
        predictions = auxiliary_predictions(members, variable)
        known = samples[["cohort", "scan_id", "participant_id"]].assign(target=samples[f"{PREFIX}{variable}"])
        # Some networks, or all, may have been trained on 0 and 1 alone of a variable with more values. Their probability of 1 is
        # then the value that they expect.
        two_classes = {head["kind"] for head in heads} == {CLASSIFICATION} and known["target"].dropna().isin(
            (0, 1)
        ).all()
        kind = CLASSIFICATION if two_classes else REGRESSION
        table = predictions.merge(known, on=["cohort", "scan_id"], validate="1:1")
        for (cohort, part), rows in table.groupby(["cohort", "part"]):
            tested = rows[rows["target"].notna()]
            found = [one for one in estimates(tested, kind, bootstrap) if one.metric in SHOWN[kind]]
            people = tested["participant_id"].nunique()
            found = found or [Estimate(metric, NAN, n=people) for metric in SHOWN[kind]]  # too few have a value
            note = _note(variable, heads, len(tested), len(rows))
            yield from JudgedPart(NETWORK, cohort, part, tested).details("all", f"{SETTING}: {variable}", note, found)


def _note(variable: str, heads: Sequence[Mapping[str, Any]], tested: int, scans: int) -> str:
    counts = sorted({head["known"] for head in heads})
    known = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return (
        f"The loss of {variable} had a weight of {heads[0]['weight']:g}; {known} training scans of a network and {tested} of "
        f"these {scans} scans have a value."
    )
