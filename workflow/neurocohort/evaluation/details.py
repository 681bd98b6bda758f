"""details.tsv: secondary results of an experiment, by its kind of task."""

from collections.abc import Iterable

import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS
from neurocohort.evaluation.brain_age import regression_details
from neurocohort.evaluation.classification_details import classification_details
from neurocohort.evaluation.combined import combined
from neurocohort.evaluation.harmonisation_details import harmonisation_details
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import (
    CLASSIFICATION,
    NETWORK,
    POOLED,
    REGRESSION,
    VALIDATION,
    JudgedPart,
    cross_validated,
    estimates,
    with_baselines,
)
from neurocohort.evaluation.outer_folds import test_fold_details
from neurocohort.evaluation.rows import DetailRow, table_of
from neurocohort.evaluation.segmentation_details import segmentation_details
from neurocohort.evaluation.site_prediction import site_details

OUT_OF_FOLD = "out of fold"


def details(
    predictions: pd.DataFrame,
    baselines: pd.DataFrame,
    samples: pd.DataFrame,
    traits: pd.DataFrame | None,
    kind: str,
    bootstrap: Bootstrap,
    more: Iterable[DetailRow] = (),
) -> pd.DataFrame:
    """The columns of metrics.tsv, ``setting`` (how a row was computed) and ``note`` (a sentence on it, or empty).

    The rows are those of `regression_details`, `classification_details` or `segmentation_details`, and with cross-validation
    those of `out_of_fold`; with test folds those of `test_fold_details`; of several sites those of `site_details`.

    Args:
        predictions: As for `evaluate`, with validation rows.
        baselines: Likewise.
        samples: samples.tsv, with the inputs of the baselines where these are known (`with_inputs`).
        traits: scans.tsv of all cohorts with ``cohort``, or None.
        kind: The task.
        bootstrap: Number of resamples and seed.
        more: Rows that were made elsewhere.
    """
    everything = with_baselines(predictions, baselines)
    if kind == REGRESSION:
        rows = regression_details(everything, samples, traits, bootstrap)
    elif kind == CLASSIFICATION:
        rows = classification_details(everything, traits, bootstrap)
    else:
        rows = segmentation_details(everything, bootstrap)
    rows += out_of_fold(everything, samples, kind, bootstrap)
    rows += test_fold_details(everything, samples, kind, combined(predictions, baselines))
    rows += harmonisation_details(everything, samples)
    return table_of([*rows, *more, *site_details(everything, samples, kind, bootstrap)], DetailRow)


def out_of_fold(everything: pd.DataFrame, samples: pd.DataFrame, kind: str, bootstrap: Bootstrap) -> list[DetailRow]:
    """Rows with the setting ``out of fold``, part ``validation``, group ``all``; none without cross-validation, and none with
    test folds, where the held-out predictions of everybody are out of fold already.

    They are the metrics of each model on the development scans that the networks predict, each scan by models that were not
    trained on it. The network's epochs were chosen on these scans, so that its results are slightly too good; the held-out part
    is the test. Scans of a fold whose networks are all left out have no prediction; the note counts their participants.
    """
    if "test_fold" in everything or not cross_validated(everything, samples):
        return []
    key, people = ["cohort", "scan_id"], ["cohort", "participant_id"]
    validated = everything[everything["part"] == VALIDATION]
    predicted = pd.MultiIndex.from_frame(validated.loc[validated["model"] == NETWORK, key])
    validated = validated[pd.MultiIndex.from_frame(validated[key]).isin(predicted)]
    development = samples.loc[samples["part"].isin(FOLDED_PARTS), people].drop_duplicates()
    lacking = len(development) - len(validated[people].drop_duplicates())
    note = f"{lacking} development participants have no prediction: every network of their fold is left out."
    cohorts = validated["cohort"].unique()
    cohort = POOLED if len(cohorts) > 1 else cohorts[0]
    rows: list[DetailRow] = []
    for model, table in validated.groupby("model", sort=False):
        part = JudgedPart(str(model), cohort, VALIDATION, table.reset_index(drop=True))
        rows += part.details("all", OUT_OF_FOLD, note if lacking else "", estimates(part.table, kind, bootstrap))
    return rows
