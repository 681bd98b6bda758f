"""The rows of the result tables as dataclasses, and the one function that makes a table of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass

import pandas as pd

DECIMALS = 6
NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """The value of a metric with its 95 % interval.

    ``interval`` is the method, ``none`` where there is no interval; ``n`` is the number of participants.
    """

    metric: str
    value: float
    ci_low: float = NAN
    ci_high: float = NAN
    interval: str = "none"
    n: int = 0


@dataclass(frozen=True)
class MetricRow:
    """A row of metrics.tsv."""

    model: str
    cohort: str
    part: str
    group: str
    estimate: Estimate


@dataclass(frozen=True)
class DetailRow(MetricRow):
    """A row of details.tsv: ``setting`` is how it was computed, ``note`` a sentence on it, or empty."""

    setting: str
    note: str


@dataclass(frozen=True)
class ComparisonRow:
    """A row of comparisons.tsv: the network minus a baseline."""

    baseline: str
    best: str
    cohort: str
    part: str
    group: str
    metric: str
    network_value: float
    baseline_value: float
    difference: float
    ci_low: float
    ci_high: float
    interval: str
    n: int
    in_favour_of: str


@dataclass(frozen=True)
class ShiftRow:
    """A row of shift.tsv: a test cohort or site, and what the model was trained on."""

    model: str
    trained_on: str
    development_participants: int
    cohort: str
    site: str
    part: str
    seen: str
    estimate: Estimate


@dataclass(frozen=True)
class SpreadRow:
    """A row of spread.tsv: a metric over the members of an experiment."""

    cohort: str
    part: str
    metric: str
    members: int
    mean: float
    sd: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class RepeatabilityRow:
    """A row of repeatability.tsv: a measure of a model over participants with several ``scans``."""

    model: str
    cohort: str
    part: str
    scans: int
    gap_years: float
    estimate: Estimate


@dataclass(frozen=True)
class LearningCurveRow:
    """A row of learning_curve.tsv: a metric of one start with a number of participants, and its differences to two others."""

    start: str
    participants: int
    estimate: Estimate
    minus_applied: float = NAN
    minus_applied_low: float = NAN
    minus_applied_high: float = NAN
    minus_random: float = NAN
    minus_random_low: float = NAN
    minus_random_high: float = NAN
    note: str = ""


@dataclass(frozen=True)
class AdaptationRow:
    """A row of adaptation.tsv: a metric of a method at a new site, and its difference to the method that it is compared with."""

    kind: str
    method: str
    compared_with: str
    cohort: str
    site: str
    estimate: Estimate
    difference: float = NAN
    difference_low: float = NAN
    difference_high: float = NAN
    note: str = ""


@dataclass(frozen=True)
class FewLabelsRow:
    """A row of few_labels.tsv: a metric of one of two networks, and in the rows of the first its difference to the other."""

    model: str
    estimate: Estimate
    difference: float = NAN
    difference_low: float = NAN
    difference_high: float = NAN
    note: str = ""


@dataclass(frozen=True)
class GenerationRow:
    """A row of generation.tsv: what answers a ``question`` about generated images, and in the rows of the generated images the
    difference to the scans. ``note``: why it can't be answered; else empty. Rows of counterfactual.tsv have the same columns
    (`evaluation.counterfactual`)."""

    question: str
    model: str
    estimate: Estimate
    difference: float = NAN
    difference_low: float = NAN
    difference_high: float = NAN
    note: str = ""


@dataclass(frozen=True)
class RegionRow:
    """A row of regions.tsv: what hiding a region changes; see `evaluation.regions`."""

    region: int
    name: str
    voxels: int
    volume_ml: float
    change: float = NAN
    change_low: float = NAN
    change_high: float = NAN
    change_per_ml: float = NAN
    error_change: float = NAN
    error_change_low: float = NAN
    error_change_high: float = NAN
    share: float = NAN
    share_low: float = NAN
    share_high: float = NAN
    random_share: float = NAN
    random_low: float = NAN
    random_high: float = NAN
    minus_random: float = NAN
    minus_random_low: float = NAN
    minus_random_high: float = NAN
    permuted_share: float = NAN
    minus_permuted: float = NAN
    minus_permuted_low: float = NAN
    minus_permuted_high: float = NAN
    n: int = 0
    note: str = ""


@dataclass(frozen=True)
class TranslationRow:
    """A row of translation.tsv: a metric of a model, and in the rows of a baseline the difference of the network to it."""

    model: str
    cohort: str
    part: str
    estimate: Estimate
    difference: float = NAN
    difference_low: float = NAN
    difference_high: float = NAN
    best: str = ""


def table_of(rows: Iterable[object], kind: type) -> pd.DataFrame:
    """The table of ``rows``, which are dataclasses of one ``kind``; numbers are rounded to six decimals.

    The columns are the fields; those of an `Estimate` stand in its place.
    """
    return pd.DataFrame([list(_cells(row)) for row in rows], columns=_columns(kind))


def _columns(kind: type) -> list[str]:
    return [name for field in fields(kind) for name in (_columns(Estimate) if field.type is Estimate else [field.name])]


def _cells(row: object) -> Iterator[object]:
    for value in vars(row).values():
        if is_dataclass(value):
            yield from _cells(value)
        else:
            yield round(float(value), DECIMALS) if isinstance(value, float) else value
