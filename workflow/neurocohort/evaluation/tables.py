"""The tables that the evaluation of an experiment writes, by name."""

from collections.abc import Iterator

import pandas as pd

from neurocohort.evaluation.classification_details import confusion_table
from neurocohort.evaluation.combined import combined
from neurocohort.evaluation.comparisons import compare
from neurocohort.evaluation.conformal import Calibration, calibrations_of, interval_details, prediction_intervals
from neurocohort.evaluation.conformal_sets import prediction_sets, set_calibrations_of, set_details
from neurocohort.evaluation.curves import CURVE_COLUMNS, curve_table
from neurocohort.evaluation.details import details
from neurocohort.evaluation.evaluate import evaluate
from neurocohort.evaluation.evaluation_notes import evaluation_notes
from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import CLASSIFICATION, REGRESSION, with_baselines
from neurocohort.evaluation.operating_point import CONFUSION_COLUMNS
from neurocohort.evaluation.repeatability import repeatability
from neurocohort.evaluation.rows import DetailRow
from neurocohort.evaluation.shift import shift_rows
from neurocohort.evaluation.spread import member_spread


def with_given(baselines: pd.DataFrame, given: pd.DataFrame) -> pd.DataFrame:
    """The rows of the baselines and those of predictions from elsewhere, predictors.tsv, which have the same columns."""
    return pd.concat([baselines, given], ignore_index=True)


def evaluation_tables(
    *,
    predictions: pd.DataFrame,
    baselines: pd.DataFrame,
    members: pd.DataFrame,
    samples: pd.DataFrame,
    scans: dict[str, pd.DataFrame],
    kind: str,
    bootstrap: Bootstrap,
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield metrics, comparisons, details, curves, confusion, shift, spread, repeatability, intervals and evaluation_notes with
    their tables.

    A table that doesn't exist for a task has its columns and no rows.

    Args:
        predictions: predictions.tsv of the experiment; the next three are its files of the same names.
        baselines: Predictions of the baselines.
        members: Predictions of the single networks.
        samples: The experiment's scans with their parts, and the inputs of the baselines and the features of a network
            (`with_inputs`) where these are known.
        scans: scans.tsv by cohort.
        kind: The task.
        bootstrap: Number of resamples and seed.
    """
    everything = with_baselines(predictions, baselines)
    traits = pd.concat([table.assign(cohort=cohort) for cohort, table in scans.items()], ignore_index=True)
    beside = [baselines, mean] if len(mean := combined(predictions, baselines)) else [baselines]
    yield "metrics", evaluate(predictions, pd.concat(beside, ignore_index=True), kind, bootstrap)
    yield "comparisons", compare(predictions, baselines, kind, bootstrap)
    intervals, covered, calibrations = _intervals(predictions, members, samples, kind)
    yield "details", details(predictions, baselines, samples, traits, kind, bootstrap, covered)
    classified = kind == CLASSIFICATION
    yield "curves", curve_table(everything, bootstrap) if classified else pd.DataFrame(columns=CURVE_COLUMNS)
    yield "confusion", confusion_table(everything) if classified else pd.DataFrame(columns=CONFUSION_COLUMNS)
    yield "shift", shift_rows(predictions, baselines, samples, kind, bootstrap)
    yield "spread", member_spread(members, kind)
    yield "repeatability", repeatability(everything, kind, bootstrap)
    yield "intervals", intervals
    yield "evaluation_notes", evaluation_notes(everything, samples, calibrations)


def _intervals(
    predictions: pd.DataFrame, members: pd.DataFrame, samples: pd.DataFrame, kind: str
) -> tuple[pd.DataFrame, list[DetailRow], dict[int, Calibration]]:
    """intervals.tsv, its rows of details.tsv, and the calibrations of a regression."""
    if kind == CLASSIFICATION:
        of_classes = set_calibrations_of(predictions, members, samples)
        sets = prediction_sets(predictions, members, of_classes)
        return sets, list(set_details(sets, of_classes)), {}
    calibrations = calibrations_of(predictions, members, samples) if kind == REGRESSION else {}
    intervals = prediction_intervals(predictions, members, calibrations)
    return intervals, list(interval_details(intervals, calibrations)), calibrations
