"""details.tsv: what stands beside the metrics of an experiment, by its kind of task."""

import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS
from neurocohort.evaluation.brain_age import regression_details
from neurocohort.evaluation.classification_details import classification_details
from neurocohort.evaluation.evaluate import figures
from neurocohort.evaluation.measures import (
    CLASSIFICATION,
    COLUMNS,
    NETWORK,
    POOLED,
    REGRESSION,
    VALIDATION,
    cross_validated,
    with_baselines,
)
from neurocohort.evaluation.segmentation_details import segmentation_details

OUT_OF_FOLD = "out of fold"
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

    What rows there are: `regression_details`, `classification_details`, `segmentation_details`, and with cross-validation
    `out_of_fold`. ``predictions`` and
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
    rows += out_of_fold(everything, samples, kind, **options)
    return pd.DataFrame(rows, columns=DETAIL_COLUMNS)


def out_of_fold(everything: pd.DataFrame, samples: pd.DataFrame, kind: str, *, resamples: int, seed: int) -> list[dict]:
    """Setting ``out of fold``, part ``validation``, group ``all``: the metrics of each model on the development scans that the
    networks predict, each by fits that it was not in. No rows without cross-validation.

    The network's epochs were chosen on these scans, which flatters it a little; the held-out part is the test. Scans of a fold
    whose networks are all left out have no prediction; ``note`` counts their participants.
    """
    if not cross_validated(everything, samples):
        return []
    key = ["cohort", "scan_id"]
    validated = everything[everything["part"] == VALIDATION]
    predicted = pd.MultiIndex.from_frame(validated.loc[validated["model"] == NETWORK, key])
    validated = validated[pd.MultiIndex.from_frame(validated[key]).isin(predicted)]
    people = ["cohort", "participant_id"]
    development = samples.loc[samples["part"].isin(FOLDED_PARTS), people].drop_duplicates()
    lacking = len(development) - len(validated[people].drop_duplicates())
    note = (
        f"{lacking} development participants have no prediction: every network of their fold is left out."
        if lacking
        else ""
    )
    cohorts = validated["cohort"].unique()
    about = {"cohort": POOLED if len(cohorts) > 1 else cohorts[0], "part": VALIDATION, "group": "all"}
    return [
        about | {"model": model, "setting": OUT_OF_FOLD, "note": note} | figure
        for model, table in validated.groupby("model", sort=False)
        for figure in figures(table.reset_index(drop=True), kind, resamples, seed)
    ]
