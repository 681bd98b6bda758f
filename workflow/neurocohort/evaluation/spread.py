"""How far an experiment's members (its seeds and folds) lie apart: an uncertainty that no resample of participants shows."""

import numpy as np
import pandas as pd

from neurocohort.evaluation.measures import DECIMALS, judged_parts, measures

SPREAD_COLUMNS = ["cohort", "part", "metric", "members", "mean", "sd", "lowest", "highest"]


def member_spread(members: pd.DataFrame, kind: str) -> pd.DataFrame:
    """spread.tsv: of each metric the mean, standard deviation (n - 1), lowest and highest value over the members.

    ``members``: members.tsv. Its members are judged one by one on the same held-out and external rows, as `evaluate` judges
    their mean; that ensemble may be better than each of them. ``sd`` is missing for a single member. Columns: cohort, part,
    metric, members, mean, sd, lowest, highest.
    """
    values: dict[tuple, list[float]] = {}
    for about, table in judged_parts(members.rename(columns={"member": "model"})):
        for name, measure in measures(table, kind).items():
            usable = measure.usable
            value = measure.metric(measure.target[usable], measure.prediction[usable]) if usable.any() else np.nan
            values.setdefault((about["cohort"], about["part"], name), []).append(value)
    rows = []
    for (cohort, part, metric), found in values.items():
        spread = {"mean": np.mean(found), "sd": np.std(found, ddof=1) if len(found) > 1 else np.nan}
        spread |= {"lowest": np.min(found), "highest": np.max(found)}
        about = {"cohort": cohort, "part": part, "metric": metric, "members": len(found)}
        rows.append(about | {name: round(float(value), DECIMALS) for name, value in spread.items()})
    return pd.DataFrame(rows, columns=SPREAD_COLUMNS)
