"""The plain mean of the network and a model of tissue maps.

It was declared before any result was seen and has no weights to choose. It is no baseline: it contains the network.
"""

import pandas as pd

from neurocohort.evaluation.age_gap import GAP
from neurocohort.evaluation.comparisons import paired
from neurocohort.evaluation.measures import KEY, probability_columns
from neurocohort.evaluation.tissue_baselines import GREY_MATTER_SVM, KERNEL_RIDGE

COMBINED = "combined"
PARTNERS = (KERNEL_RIDGE, GAP, GREY_MATTER_SVM)  # the first that was fitted


def combined(predictions: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """Average the network's predictions with those of the first of PARTNERS, on the rows that both have.

    Args:
        predictions: The network's rows: values, or probabilities.
        baselines: The same columns and ``model``.

    Returns:
        Rows like those of ``baselines``, with ``combined`` as model; none where there is no model of tissue maps.
    """
    partner = next((name for name in PARTNERS if (baselines["model"] == name).any()), "")
    others = baselines[baselines["model"] == partner]
    if others.empty:
        return others
    key = [name for name in (*KEY, "part") if name in predictions]
    if (
        "test_fold" in predictions
    ):  # a scan is held out in one test fold and may validate in others; external scans have none
        predictions, others = (
            table.assign(test_fold=table["test_fold"].astype(float).fillna(0)) for table in (predictions, others)
        )
        key.append("test_fold")
    network, other = paired(predictions, others, key)
    classes = probability_columns(network)
    values = classes or ["prediction"]
    mean = (network[values] + other[values]) / 2
    found = network.assign(model=COMBINED, **{name: mean[name] for name in values})
    if "test_fold" in found:
        found["test_fold"] = found["test_fold"].where(found["test_fold"] > 0)
    return found.assign(prediction=mean.to_numpy().argmax(axis=1)) if classes else found
