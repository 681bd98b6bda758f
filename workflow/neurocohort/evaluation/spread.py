"""How much the members of an experiment (its seeds and folds) differ, which resampling participants doesn't show."""

import numpy as np
import pandas as pd

from neurocohort.evaluation.measures import judged_parts, measures
from neurocohort.evaluation.rows import SpreadRow, table_of


def member_spread(members: pd.DataFrame, kind: str) -> pd.DataFrame:
    """spread.tsv: the mean, standard deviation (n - 1), lowest and highest value of each metric over the members.

    Each of ``members`` (members.tsv) is judged on the same held-out and external rows, as `evaluate` judges their mean; that
    ensemble may be better than each of them. ``sd`` is missing for a single member. Columns: cohort, part, metric, members,
    mean, sd, lowest, highest.
    """
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
