"""details.tsv: what stands beside the metrics of an experiment, by its kind of task."""

import pandas as pd

from neurocohort.evaluation.brain_age import regression_details
from neurocohort.evaluation.classification_details import classification_details
from neurocohort.evaluation.measures import CLASSIFICATION, COLUMNS, REGRESSION, with_baselines
from neurocohort.evaluation.segmentation_details import segmentation_details

DETAIL_COLUMNS = [*COLUMNS, "setting", "note"]


def details(
    predictions: pd.DataFrame,
    baselines: pd.DataFrame,
    samples: pd.DataFrame,
    traits: pd.DataFrame | None,
    kind: str,
    *,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """The columns of metrics.tsv, then ``setting`` (how a row was computed) and ``note`` (a sentence on it, or empty).

    What rows there are: `regression_details`, `classification_details`, `segmentation_details`. ``predictions`` and
    ``baselines``: as for `evaluate`, with their validation rows; ``samples``: samples.tsv; ``traits``: scans.tsv of the
    cohorts, one after the other with their ``cohort``, or None.
    """
    everything = with_baselines(predictions, baselines)
    options = {"resamples": resamples, "seed": seed}
    if kind == REGRESSION:
        rows = regression_details(everything, samples, traits, **options)
    elif kind == CLASSIFICATION:
        rows = classification_details(everything, traits, **options)
    else:
        rows = segmentation_details(everything, **options)
    return pd.DataFrame(rows, columns=DETAIL_COLUMNS)
