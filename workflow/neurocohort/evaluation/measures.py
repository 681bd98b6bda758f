"""What is measured in a table of predictions, and how a measure becomes an estimate with its interval."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import (
    NO_INTERVAL,
    Bootstrap,
    Interval,
    auc_score_interval,
    participant_interval,
)
from neurocohort.evaluation.metrics import (
    CLASSES_METRICS,
    CLASSIFICATION_METRICS,
    REGRESSION_METRICS,
    SEGMENTATION_METRICS,
    Metric,
    metric,
    weighted_mean,
)
from neurocohort.evaluation.rows import DetailRow, Estimate

REGRESSION, CLASSIFICATION, SEGMENTATION = "regression", "classification", "segmentation"
SMALLEST_GROUP = 3  # participants; smaller groups have no results
POOLED = "all"
NETWORK = "network"
GIVEN = "given:"  # begins the name of a model whose predictions another tool made
VALIDATION, HELD_OUT, EXTERNAL = "validation", "held-out", "external"
PROBABILITY = re.compile(r"probability_\d+")
KEY = ["cohort", "scan_id", "tissue"]  # of a row; only a segmentation has tissues
AUCS = ("auc", "auc_macro")


@dataclass(frozen=True)
class Measure:
    """A metric and what it compares.

    Args:
        metric: The function.
        target: True values or classes, (rows,).
        prediction: (rows,), or (rows, K) for K > 2 classes.
        participants: The person of each row, (rows,).
        stratified: Whether the classes in ``target`` are resampled separately.
        skips_missing: Whether rows in which either is missing are left out.
    """

    metric: Metric
    target: np.ndarray
    prediction: np.ndarray
    participants: np.ndarray
    stratified: bool = False
    skips_missing: bool = False

    @property
    def usable(self) -> np.ndarray:
        """The rows that count, (rows,) bool."""
        if self.skips_missing:
            return np.isfinite(self.target) & np.isfinite(self.prediction)
        return np.ones(len(self.target), dtype=bool)

    def on(self, rows: np.ndarray) -> "Measure":
        """The measure of some rows, (rows,) bool."""
        chosen = {name: getattr(self, name)[rows] for name in ("target", "prediction", "participants")}
        return replace(self, **chosen)

    @property
    def value(self) -> float:
        """The metric of all rows; NaN where there is none."""
        return self.metric(self.target, self.prediction) if len(self.target) else float("nan")

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """The metric of each draw of ``weights`` (draws, rows)."""
        return self.metric(self.target, self.prediction, weights)

    @property
    def strata(self) -> np.ndarray | None:
        """What `participant_interval` stratifies by."""
        return self.target if self.stratified else None


@dataclass(frozen=True)
class JudgedPart:
    """The predictions of one ``model`` in one ``part`` of a ``cohort``, or of several (`POOLED`)."""

    model: str
    cohort: str
    part: str
    table: pd.DataFrame

    def details(self, group: str, setting: str, note: str, estimates: Iterable[Estimate]) -> list[DetailRow]:
        """Rows of details.tsv about this part."""
        return [DetailRow(self.model, self.cohort, self.part, group, estimate, setting, note) for estimate in estimates]


def measures(table: pd.DataFrame, kind: str) -> dict[str, Measure]:
    """All metrics of a ``kind`` of task on the rows of ``table``, by name, in the order of the results.

    A regression and a classification need the columns target and prediction (or ``probability_0`` and so on, for more than two
    classes). In the table of a segmentation every column already compares two label maps, so that a measure is the mean of a
    column; columns that the table doesn't have are left out, and missing values (a distance to an empty surface) don't count.
    """
    people = table["participant_id"].to_numpy()
    if kind == SEGMENTATION:
        columns = {name: table[name].to_numpy(dtype=float) for name in SEGMENTATION_METRICS if name in table}
        return {name: Measure(_mean, values, values, people, skips_missing=True) for name, values in columns.items()}
    target, prediction = (table[name].to_numpy(dtype=float) for name in ("target", "prediction"))
    metrics = REGRESSION_METRICS
    if classes := probability_columns(table):
        target, prediction, metrics = target.astype(int), table[classes].to_numpy(dtype=float), CLASSES_METRICS
    elif kind == CLASSIFICATION:
        target, metrics = (target > 0).astype(int), CLASSIFICATION_METRICS
    return {
        name: Measure(function, target, prediction, people, stratified=kind == CLASSIFICATION)
        for name, function in metrics.items()
    }


def probability_columns(table: pd.DataFrame) -> list[str]:
    """The names of the columns with the probabilities of more than two classes, class 0 first; none for two classes."""
    return sorted(filter(PROBABILITY.fullmatch, table), key=lambda name: int(name.rpartition("_")[2]))


def headline_metric(table: pd.DataFrame, kind: str) -> str:
    """The metric by which a table is judged, where there can be only one."""
    if kind == CLASSIFICATION:
        return "auc_macro" if probability_columns(table) else "auc"
    return {REGRESSION: "mae", SEGMENTATION: "dice"}[kind]


def estimate(name: str, measure: Measure, bootstrap: Bootstrap) -> Estimate:
    """The value of ``measure`` with its interval; ``n`` are the participants with a usable row.

    An AUC of 0 or 1 is the same in all resamples, and gets a score-type interval (``newcombe``). Value and interval are NaN
    where the metric is not defined.
    """
    own = measure.on(measure.usable)
    value, interval = own.value, NO_INTERVAL
    if np.isfinite(value):
        interval = participant_interval(own.resampled, own.participants, bootstrap, own.strata)
    if name in AUCS and value in (0.0, 1.0) and interval.low == interval.high:
        interval = Interval(*score_interval(value, own.target), "newcombe")
    return Estimate(name, value, *interval, n=len(set(own.participants)))


def estimates(table: pd.DataFrame, kind: str, bootstrap: Bootstrap) -> list[Estimate]:
    """Every metric on the rows of ``table``; none for fewer than three participants."""
    if too_few(table):
        return []
    return [estimate(name, measure, bootstrap) for name, measure in measures(table, kind).items()]


def too_few(table: pd.DataFrame) -> bool:
    """Whether the rows are of fewer than three participants."""
    return table["participant_id"].nunique() < SMALLEST_GROUP


def with_baselines(predictions: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """The rows of the network and those of the baselines in one table, distinguished by ``model``."""
    return pd.concat([predictions.assign(model=NETWORK), baselines], ignore_index=True)


def cross_validated(everything: pd.DataFrame, samples: pd.DataFrame) -> bool:
    """Whether scans of the split's part ``train`` (in ``samples``, samples.tsv) have validation rows, as with folds."""
    key = ["cohort", "scan_id"]
    trained = pd.MultiIndex.from_frame(samples.loc[samples["part"] == "train", key])
    return bool(trained.isin(pd.MultiIndex.from_frame(everything.loc[everything["part"] == VALIDATION, key])).any())


def judged_parts(everything: pd.DataFrame) -> Iterator[JudgedPart]:
    """Yield each part that results may be computed on, and the held-out parts of several cohorts together.

    A model that lacks one of these cohorts has no pooled part: its participants would differ from the network's. The
    validation part is left out: the epoch was chosen on it, so that its results are too good.
    """
    tested = everything[everything["part"] != VALIDATION]
    for (model, cohort, part), table in tested.groupby(["model", "cohort", "part"], sort=False):
        yield JudgedPart(model, cohort, part, table.reset_index(drop=True))
    held_out = tested[tested["part"] == HELD_OUT]
    cohorts = held_out["cohort"].nunique()
    for model, table in held_out.groupby("model", sort=False) if cohorts > 1 else ():
        if table["cohort"].nunique() == cohorts:
            yield JudgedPart(str(model), POOLED, HELD_OUT, table.reset_index(drop=True))


def score_interval(value: float, target: np.ndarray) -> tuple[float, float]:
    """Newcombe's interval of an AUC of 0 or 1. For a mean over classes, the mean of their limits, which is at least as wide as
    the interval of the mean."""
    counts = np.bincount(target)
    cases = counts[1:] if len(counts) == 2 else counts
    limits = [auc_score_interval(value, int(count), int(len(target) - count)) for count in cases]
    low, high = np.mean(limits, axis=0)
    return float(low), float(high)


@metric
def _mean(_: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weighted_mean(values, weights)
