"""The plain mean of the network and the model of tissue maps.

It was declared before any result was seen and has no weights to choose. It is no baseline: it contains the network.
"""

import pandas as pd

from neurocohort.evaluation.comparisons import paired
from neurocohort.evaluation.measures import KEY, probability_columns
from neurocohort.evaluation.tissue_baselines import TISSUE_MODELS

COMBINED = "combined"


def combined(predictions: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """Average the network's predictions with those of the model of tissue maps, on the rows that both have.

    Args:
        predictions: The network's rows: values, or probabilities.
        baselines: The same columns and ``model``.

    Returns:
        Rows like those of ``baselines``, with ``combined`` as model; none where there is no model of tissue maps.
    """
    others = baselines[baselines["model"].isin(TISSUE_MODELS)]
    if others.empty:
        return others
    network, other = paired(predictions, others, [name for name in KEY if name in predictions])
    classes = probability_columns(network)
    values = classes or ["prediction"]
    mean = (network[values] + other[values]) / 2
    found = network.assign(model=COMBINED, **{name: mean[name] for name in values})
    return found.assign(prediction=mean.to_numpy().argmax(axis=1)) if classes else found
