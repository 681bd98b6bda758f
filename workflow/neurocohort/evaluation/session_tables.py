"""The result tables of a longitudinal analysis: predictions of the held-out participants, metrics, and paired differences."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import HELD_OUT
from neurocohort.evaluation.comparisons import compare
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import estimates, judged_parts
from neurocohort.evaluation.rows import MetricRow, table_of

PREDICTED = ["cohort", "part", "scan_id", "participant_id", "site", "age", "sex", "sessions", "years", "target"]
DECIMALS = 6


def held_out_predictions(last: pd.DataFrame, predictions: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """predictions.tsv: model, then `PREDICTED` and prediction; one row for each model and held-out participant.

    ``scan_id``, ``age`` and ``years`` (since the first session) are those of the last session.

    Args:
        last: The table of `last_sessions`.
        predictions: By model, of all participants in the order of ``last``.
    """
    tested = (last["part"] == HELD_OUT).to_numpy()
    rows = last[tested][PREDICTED].reset_index(drop=True)
    tables = [
        rows.assign(prediction=np.round(values[tested], DECIMALS)).assign(model=name)
        for name, values in predictions.items()
    ]
    found = pd.concat(tables, ignore_index=True)
    found.insert(0, "model", found.pop("model"))
    return found


def session_metrics(predictions: pd.DataFrame, task: str, bootstrap: Bootstrap) -> pd.DataFrame:
    """metrics.tsv: each metric of each model with its interval; several cohorts also together, as cohort ``all``."""
    rows = [
        MetricRow(part.model, part.cohort, part.part, "all", estimate)
        for part in judged_parts(predictions)
        for estimate in estimates(part.table, task, bootstrap)
    ]
    return table_of(rows, MetricRow)


def session_comparisons(
    predictions: pd.DataFrame, networks: Sequence[str], task: str, bootstrap: Bootstrap
) -> pd.DataFrame:
    """comparisons.tsv: model, then the columns of `compare`: each network minus each baseline on the same participants."""
    others = predictions[~predictions["model"].isin(networks)]
    tables = []
    for name in networks:
        own = predictions[predictions["model"] == name].drop(columns="model")
        found = compare(own, others, task, bootstrap)
        found.insert(0, "model", name)
        tables.append(found)
    return pd.concat(tables, ignore_index=True)
