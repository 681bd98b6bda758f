"""How much the members of an experiment (its seeds and folds) differ, which resampling participants doesn't show."""

import numpy as np
import pandas as pd

from neurocohort.dataset.runs import run_name
from neurocohort.evaluation.measures import HELD_OUT, judged_parts, measures
from neurocohort.evaluation.rows import SpreadRow, table_of


def member_spread(members: pd.DataFrame, kind: str) -> pd.DataFrame:
    """spread.tsv: the mean, standard deviation (n - 1), lowest and highest value of each metric over the members.

    Each of ``members`` (members.tsv) is judged on the same held-out and external rows, as `evaluate` judges their mean; that
    ensemble may be better than each of them. ``sd`` is missing for a single member. Columns: cohort, part, metric, members,
    mean, sd, lowest, highest.

    With test folds, networks that differ in their test fold only are one member on the held-out part, where each has its own
    scans. It is left out if one of its networks is missing, since it would be judged on other scans.
    """
    if members["member"].str.startswith("test-").any():
        members = _joined_over_test_folds(members)
    # members.tsv has no participants, and none are resampled here.
    tables = members.rename(columns={"member": "model"}).assign(participant_id=members["scan_id"])
    values: dict[tuple[str, str, str], list[float]] = {}
    for part in judged_parts(tables):
        for name, measure in measures(part.table, kind).items():
            values.setdefault((part.cohort, part.part, name), []).append(measure.on(measure.usable).value)
    rows = []
    for key, found in values.items():
        sd = float(np.std(found, ddof=1)) if len(found) > 1 else float("nan")
        rows.append(SpreadRow(*key, len(found), float(np.mean(found)), sd, float(np.min(found)), float(np.max(found))))
    return table_of(rows, SpreadRow)


def _joined_over_test_folds(members: pd.DataFrame) -> pd.DataFrame:
    """The rows with one name for all networks that differ in their test fold only, in the held-out part."""
    names = {name: run_name(name) for name in members["member"].unique()}
    joined = {name: one.without_test_fold for name, one in names.items()}
    count = pd.Series(joined).value_counts()
    whole = members["member"].map(joined).map(count) == len({one.test_fold for one in names.values()})
    held_out = members["part"] == HELD_OUT
    return members.assign(member=members["member"].mask(held_out, members["member"].map(joined)))[whole | ~held_out]
