"""What a model's training scans were like, in summary statistics only: the ranges of age and target, sexes, sites, and the spread
of the quality numbers and of the networks' features. A new scan is compared with it.

The limits of the scores of a scan are calibrated on scans that the networks were not trained on, so that at most about 5 % of
scans like these exceed one.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from neurocohort.dataset.quality_flags import HIGH, LOW, bad_sides
from neurocohort.learning.feature_files import ScanFeatures

FLAGGED_FRACTION = 0.05  # of scans like the training cohorts', at most
LEAST_LIMIT = 3.5  # of a robust score: Iglewicz and Hoaglin 1993
NORMAL_90 = 1.2815516  # standard deviations from a normal distribution's median to its 90th percentile
QUANTILES = {"lowest": 0.01, "low": 0.1, "first": 0.25, "median": 0.5, "third": 0.75, "high": 0.9, "highest": 0.99}
FEWEST_SCANS = 10  # for the spread of a number
# Both sides: another scanner's contrast may be better or worse.
INTENSITY_NUMBERS = ("contrast_gm_csf", "contrast_wm_gm")
# The position of the head in the scanner says nothing about the image, and the starts of the registration are few integers.
NOT_SCORED = ("head_turn_degrees", "registration_starts")
QUALITY, INTENSITY, FEATURES = KINDS = ("quality", "intensity", "features")  # of scores; each has a limit of its own
CALIBRATION_PARTS = ("validation", "held-out")
KEY = ["cohort", "scan_id"]


@dataclass(frozen=True)
class Spread:
    """Quantiles of a number over the training scans: 1, 10, 25, 50, 75, 90 and 99 %."""

    lowest: float
    low: float
    first: float
    median: float
    third: float
    high: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        """The spread of ``values``; None for fewer than FEWEST_SCANS."""
        known = np.array([value for value in values if np.isfinite(value)], dtype=float)
        if len(known) < FEWEST_SCANS:
            return None
        return cls(**{name: float(f"{np.quantile(known, part):.6g}") for name, part in QUANTILES.items()})

    def score(self, value: float) -> float:
        """Distance from the median in standard deviations of a normal distribution with the same 10th or 90th percentile, on the
        value's own side; NaN where there is no spread."""
        width = (self.high - self.median if value > self.median else self.median - self.low) / NORMAL_90
        return (value - self.median) / width if width > 0 else math.nan


@dataclass(frozen=True)
class FeatureSpace:
    """The features of a network's training scans.

    Attributes:
        mean: (features,).
        precision: (features, features), the inverse of their covariance, shrunk as by Ledoit and Wolf 2004.
    """

    mean: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "FeatureSpace":
        """The space of the features of training scans, (scans, features)."""
        from sklearn.covariance import LedoitWolf

        fitted = LedoitWolf().fit(values.astype(np.float64))
        return cls(fitted.location_.astype(np.float32), fitted.precision_.astype(np.float32))

    def distances(self, values: np.ndarray) -> np.ndarray:
        """Mahalanobis distance of each row of ``values``, (scans, features)."""
        off = values.astype(np.float64) - self.mean
        return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", off, self.precision.astype(np.float64), off), 0))


@dataclass(frozen=True)
class Reference:
    """What the training scans were like.

    Attributes:
        scans: How many they are.
        age: Smallest and largest age in years, of the held-out scans too: on these, the model was tested. None where unknown.
        target: Of a regression, smallest and largest target, of the held-out scans too.
        sexes: The sexes.
        sites: The sites.
        numbers: The spread of each quality number and volume.
        spaces: By network, its features; empty for networks without.
        distance: The spread of the scans' distances, means over the networks, among the calibration scans.
        limits: By kind of score; scores above it are flagged.
        calibration_scans: Scans that the limits were calibrated on; with none, they are LEAST_LIMIT.
    """

    scans: int
    age: tuple[float, float] | None = None
    target: tuple[float, float] | None = None
    sexes: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    numbers: Mapping[str, Spread] = field(default_factory=dict)
    spaces: Mapping[str, FeatureSpace] = field(default_factory=dict)
    distance: Spread | None = None
    limits: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, LEAST_LIMIT))
    calibration_scans: int = 0

    def number_scores(self, numbers: Mapping[str, float | None]) -> dict[str, float]:
        """The score of each quality number of a scan that has one; 0 on a side where no fault would be."""
        found = {}
        for name, spread in self.numbers.items():
            value = numbers.get(name)
            if value is None or not np.isfinite(value) or not (sides := _sides(name)):
                continue
            score = spread.score(float(value))
            if np.isfinite(score):
                found[name] = score if (LOW if score < 0 else HIGH) in sides else 0.0
        return found

    def distance_of(self, features: Mapping[str, np.ndarray]) -> float | None:
        """The mean distance over the networks; ``features``: (features,) of each. None for networks without."""
        if not self.spaces:
            return None
        return float(np.mean([space.distances(features[name][None])[0] for name, space in self.spaces.items()]))

    def as_values(self) -> dict[str, Any]:
        """All but the arrays, as plain values."""
        values = asdict(self)
        del values["spaces"]
        return values

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the features by name."""
        return {
            f"{name}.{part}": getattr(space, part)
            for name, space in self.spaces.items()
            for part in ("mean", "precision")
        }


def reference_from(values: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Reference:
    """The reference of `as_values` and `arrays`."""
    names = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
    changes = {
        **{name: tuple(values[name]) if values[name] else None for name in ("age", "target")},
        **{name: tuple(values[name]) for name in ("sexes", "sites")},
        "numbers": {name: Spread(**spread) for name, spread in values["numbers"].items()},
        "distance": Spread(**values["distance"]) if values["distance"] else None,
        "spaces": {name: FeatureSpace(arrays[f"{name}.mean"], arrays[f"{name}.precision"]) for name in names},
    }
    return Reference(**{**values, **changes})


def reference_of(samples: pd.DataFrame, quality: pd.DataFrame, features: Mapping[str, ScanFeatures]) -> Reference:
    """Summarise an experiment's training scans.

    Args:
        samples: samples.tsv, without the rows of external cohorts.
        quality: The rows of qc.tsv of its cohorts, with ``cohort``.
        features: Those of each network.
    """
    by_turns = "test_fold" in samples  # everybody is a training scan of some networks
    trained = samples if by_turns else samples[samples["part"] == "train"]
    others = samples if by_turns else samples[samples["part"].isin(CALIBRATION_PARTS)]
    numbers = _spreads(_rows_of(trained, quality))
    spaces = {name: FeatureSpace.of(own.of_part("train").values) for name, own in features.items()}
    found = Reference(
        scans=len(trained),
        age=_range(samples["age"]),
        target=_range(samples["target"]) if "target" in samples else None,
        sexes=_names(trained["sex"]),
        sites=_names(trained["site"]),
        numbers=numbers,
        spaces=spaces,
    )
    distances = _distances(others, spaces, features)
    spread = Spread.of(distances)
    largest: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for row, distance in zip(_rows_of(others, quality).to_dict("records"), distances, strict=True):
        own = found.number_scores(row) | {FEATURES: spread.score(distance) if spread and np.isfinite(distance) else 0.0}
        for kind in KINDS:
            largest[kind].append(max((abs(score) for name, score in own.items() if kind_of(name) == kind), default=0.0))
    limits = {kind: _limit(scores) for kind, scores in largest.items()}
    return Reference(**{**vars(found), "distance": spread, "limits": limits, "calibration_scans": len(distances)})


def kind_of(name: str) -> str:
    """The kind of a score, by its name."""
    return FEATURES if name == FEATURES else INTENSITY if name in INTENSITY_NUMBERS else QUALITY


def _limit(scores: list[float]) -> float:
    """The conformal quantile of the scores of a kind, at least LEAST_LIMIT; with few scans, their largest score."""
    if not scores:
        return LEAST_LIMIT
    place = math.ceil((1 - FLAGGED_FRACTION / len(KINDS)) * (len(scores) + 1) - 1e-9)
    return max(LEAST_LIMIT, float(f"{sorted(scores)[min(place, len(scores)) - 1] + 5e-5:.4f}"))


def _sides(name: str) -> tuple[str, ...]:
    if name in NOT_SCORED:
        return ()
    return (LOW, HIGH) if name in INTENSITY_NUMBERS else bad_sides(name)


def _rows_of(samples: pd.DataFrame, quality: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``quality`` of the samples, in their order."""
    return samples[KEY].merge(quality, on=KEY, how="left", validate="m:1")


def _spreads(rows: pd.DataFrame) -> dict[str, Spread]:
    names = [name for name in rows if f"{name}_z" in rows]
    spreads = {name: Spread.of(rows[name]) for name in names}
    return {name: spread for name, spread in spreads.items() if spread}


def _distances(
    samples: pd.DataFrame, spaces: Mapping[str, FeatureSpace], features: Mapping[str, ScanFeatures]
) -> np.ndarray:
    """The mean distance of each sample over the networks that were not trained on it; NaN without any."""
    found = np.full((max(len(spaces), 1), len(samples)), np.nan)
    for row, (name, space) in zip(found, spaces.items(), strict=False):
        values = features[name].of_part(*CALIBRATION_PARTS).of_scans(samples)
        known = np.isfinite(values).all(axis=1)
        row[known] = space.distances(values[known])
    counts = np.isfinite(found).sum(axis=0)
    return np.where(counts > 0, np.nansum(found, axis=0) / np.maximum(counts, 1), np.nan)


def _range(values: pd.Series) -> tuple[float, float] | None:
    known = pd.to_numeric(values, errors="coerce").dropna()
    return (round(float(known.min()), 4), round(float(known.max()), 4)) if len(known) else None


def _names(values: pd.Series) -> tuple[str, ...]:
    return tuple(sorted({str(value) for value in values.dropna()}))
