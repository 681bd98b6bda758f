"""Conformal prediction intervals of a regression: around each prediction an interval that should contain the true value for 95 %
of new participants. `conformal_sets` has the sets of a classification.

Without cross-validation it is split-conformal (Lei et al. 2018, Journal of the American Statistical Association 113, 1094-1111),
from the errors on the validation scans. The epoch was chosen on these scans, so that the coverage is approximate. With
cross-validation it is CV+ (Barber et al. 2021, Annals of Statistics 49, 486-507), from the errors out of fold. With test folds,
each has intervals of its own from the validation scans of its networks, and those of external scans are CV+ over the test folds,
from the errors of the participants while they were held out. All assume that tested participants are exchangeable with those of
the calibration, which those of an external cohort are not.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from neurocohort.dataset.folds import test_fold_numbers
from neurocohort.dataset.runs import RunName, run_name
from neurocohort.evaluation.conformal_rule import interval_limits, place_of_quantile
from neurocohort.evaluation.intervals import CONFIDENCE, wilson_interval
from neurocohort.evaluation.measures import EXTERNAL, HELD_OUT, NETWORK, VALIDATION, judged_parts, too_few
from neurocohort.evaluation.rows import DECIMALS, NAN, DetailRow, Estimate

SETTING = "prediction interval"
FEWEST = math.ceil(CONFIDENCE / (1 - CONFIDENCE) - 1e-9)  # 19 participants: with fewer, the interval is infinite
# With fewer than 39, the limit is the largest error: one participant decides about all widths.
FEWEST_STABLE = math.ceil(2 / (1 - CONFIDENCE) - 1e-9) - 1
INTERVAL_COLUMNS = [
    *("cohort", "part", "scan_id", "participant_id", "target", "prediction"),
    *("interval_low", "interval_high"),
]
KEY = ["cohort", "scan_id"]
ABROAD = " They hold for participants like those of the training cohorts; this cohort's may differ."
NO_TEST_FOLD = 0  # the key of the calibration of scans without a test fold

T = TypeVar("T")


@dataclass(frozen=True)
class CalibrationScans:
    """One predicted scan of each calibration participant, and the fields of `Calibration` except the errors."""

    rows: pd.DataFrame
    folds: np.ndarray
    between_test_folds: bool = False


@dataclass(frozen=True)
class Calibration:
    """What intervals are made from: one scan of each participant that no network was trained on.

    Attributes:
        residuals: Absolute errors, (participants,); of a class, 1 minus its probability.
        folds: The fold of each, (participants,); 0 without cross-validation.
        between_test_folds: Whether these are test folds, and the participants held out.
    """

    residuals: np.ndarray
    folds: np.ndarray
    between_test_folds: bool = False

    @property
    def enough(self) -> bool:
        """Whether there are enough for a finite interval."""
        return len(self.residuals) >= FEWEST


def calibrations_of(predictions: pd.DataFrame, members: pd.DataFrame, samples: pd.DataFrame) -> dict[int, Calibration]:
    """The calibrations of a regression, by test fold; for keys and arguments see `calibration_scans`."""
    found = calibration_scans(predictions, members, samples)
    return {
        number: Calibration(_residuals(one.rows), one.folds, one.between_test_folds) for number, one in found.items()
    }


def calibration_scans(
    predictions: pd.DataFrame, members: pd.DataFrame, samples: pd.DataFrame
) -> dict[int, CalibrationScans]:
    """The calibration scans by test fold; under NO_TEST_FOLD those of external scans, or of all without test folds.

    They are the first scan (by scan_id) of each participant in the validation part; those of external scans, with test folds, in
    the held-out part.

    Args:
        predictions: The network's rows.
        members: The rows of the single networks.
        samples: samples.tsv, with ``fold`` if there is a cross-validation.
    """
    numbers = test_fold_numbers(predictions)
    if numbers == [NO_TEST_FOLD]:
        return {NO_TEST_FOLD: _validation_scans(predictions, members, samples)}
    names = members["member"].map(run_name)
    found = {}
    for number in numbers:
        own = names.map(lambda name, number=number: name.test_fold == number).astype(bool)
        found[number] = _validation_scans(predictions[predictions["test_fold"] == number], members[own], samples)
    held_out = _one_scan_each(predictions[predictions["part"] == HELD_OUT])
    found[NO_TEST_FOLD] = CalibrationScans(held_out, held_out["test_fold"].to_numpy(dtype=int), True)
    return found


def prediction_intervals(
    predictions: pd.DataFrame, members: pd.DataFrame, calibrations: dict[int, Calibration]
) -> pd.DataFrame:
    """intervals.tsv: INTERVAL_COLUMNS, one row for each tested scan of a regression; limits are missing for fewer than FEWEST
    calibration participants.

    Args:
        predictions: The network's rows.
        members: The rows of the single networks.
        calibrations: See `calibrations_of`; empty for a task other than regression, whose table has no rows.
    """
    if not calibrations:
        return pd.DataFrame(columns=INTERVAL_COLUMNS)
    tested = predictions[predictions["part"] != VALIDATION].reset_index(drop=True)
    numbers = test_folds_of(tested)
    low, high = np.full(len(tested), np.nan), np.full(len(tested), np.nan)
    for number, calibration in calibrations.items():
        own = numbers == number
        if calibration.enough and own.any():
            centres = means_by_fold(tested[own], members, calibration, number)
            low[own], high[own] = conformal_limits(centres, calibration)
    limits = {"interval_low": np.round(low, DECIMALS), "interval_high": np.round(high, DECIMALS)}
    return tested.assign(**limits)[INTERVAL_COLUMNS]


def test_folds_of(rows: pd.DataFrame) -> np.ndarray:
    """The test fold of each row, (rows,); NO_TEST_FOLD for external rows, and without test folds."""
    if "test_fold" not in rows:
        return np.zeros(len(rows), dtype=int)
    return rows["test_fold"].astype("Int64").fillna(NO_TEST_FOLD).to_numpy(dtype=int)


def conformal_limits(by_fold: dict[int, np.ndarray], calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """`interval_limits` from the predictions of the networks of each fold (or under 0, of all), (scans,)."""
    return interval_limits(of_participants(by_fold, calibration), calibration.residuals, CONFIDENCE)


def of_participants(by_fold: dict[int, np.ndarray], calibration: Calibration) -> np.ndarray:
    """The predictions of the networks that didn't see each calibration participant, (scans, participants)."""
    return np.stack([by_fold[fold] for fold in calibration.folds], axis=-1)


def interval_details(intervals: pd.DataFrame, calibrations: dict[int, Calibration]) -> Iterator[DetailRow]:
    """Rows of details.tsv with the setting SETTING: ``coverage``, the fraction of the scans whose interval contains the true
    value, and ``interval_width``, their mean width; missing where there are too few calibration participants."""
    for part in judged_parts(intervals.assign(model=NETWORK)):
        if too_few(part.table):
            continue
        table = part.table.dropna(subset=["interval_low"])
        people = table["participant_id"].nunique()
        inside = table["target"].between(table["interval_low"], table["interval_high"])
        width = table["interval_high"] - table["interval_low"]
        covered = float(inside.mean()) if people else NAN
        low, high = wilson_interval(covered, people) if people else (NAN, NAN)
        found = [
            Estimate("coverage", covered, low, high, "wilson" if people else "none", people),
            Estimate("interval_width", float(width.mean()) if people else NAN, n=people),
        ]
        external = part.part == EXTERNAL
        note = _note(of_part(calibrations, external=external)) + (ABROAD if external else "")
        yield from part.details("all", SETTING, note, found)


def of_part(calibrations: dict[int, T], *, external: bool) -> list[T]:
    """Those of the calibrations that the intervals of held-out or of external scans are made from."""
    return [
        one for number, one in calibrations.items() if (number == NO_TEST_FOLD) == external or len(calibrations) == 1
    ]


def _note(calibrations: list[Calibration]) -> str:
    counts, first = [len(one.residuals) for one in calibrations], calibrations[0]
    count = f"{counts[0]}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    kind = "held-out" if first.between_test_folds else "validation"
    each = f"For each of {len(counts)} test folds: " if len(counts) > 1 else ""
    if not all(one.enough for one in calibrations):
        return f"{each}No intervals: {count} {kind} participants, and a finite interval needs {FEWEST}."
    if first.between_test_folds:
        return f"95 % intervals by CV+ from the errors of {count} participants while held out; CV+ guarantees 90 %."
    if first.folds.any():
        return f"{each}95 % intervals by CV+ from the errors out of fold of {count} participants; CV+ guarantees 90 %."
    return (
        f"{each}95 % split-conformal intervals from the errors of {count} validation participants, on whom the epoch was chosen "
        f"too: the coverage is approximate.{_why_wide(calibrations)}"
    )


def few_participants(calibrations: dict[int, Calibration]) -> str:
    """A note where so few validation participants calibrate the intervals of held-out scans that they are wide, else empty."""
    found = of_part(calibrations, external=False)
    if not found or not _few(found):
        return ""
    return (
        f"wide: the largest error of {min(len(one.residuals) for one in found)} validation participants sets the width; "
        "`training.cross_validation: true` calibrates on the participants of all folds."
    )


def _few(calibrations: list[Calibration]) -> bool:
    """Whether the largest error is the limit, without cross-validation."""
    smallest = min(calibrations, key=lambda one: len(one.residuals))
    return smallest.enough and len(smallest.residuals) < FEWEST_STABLE and not smallest.folds.any()


def _why_wide(calibrations: list[Calibration]) -> str:
    """The sentence for `_few`, with the 90 % range of the coverage, which is distributed as Beta(k, n + 1 - k) for the k-th of n
    sorted errors (Vovk 2012)."""
    if not _few(calibrations):
        return ""
    count = min(len(one.residuals) for one in calibrations)
    place = place_of_quantile(count, CONFIDENCE)
    low, high = stats.beta.ppf([0.05, 0.95], place, count + 1 - place)
    return (
        f" With fewer than {FEWEST_STABLE} participants the largest error sets the width, so the intervals are wide, and the "
        f"coverage depends on chance: with {count}, it is between {low:.0%} and {high:.1%} in 90 % of such calibrations. "
        "`training.cross_validation: true` calibrates on the participants of all folds."
    )


def means_by_fold(
    tested: pd.DataFrame,
    members: pd.DataFrame,
    calibration: Calibration,
    test_fold: int,
    column: str = "prediction",
) -> dict[int, np.ndarray]:
    """The mean of ``column`` for each tested scan over the networks of each fold; under 0 over all networks."""

    def fold_of(name: RunName) -> int:
        if calibration.between_test_folds:
            return name.test_fold
        return name.fold if name.test_fold == test_fold else 0

    found = {0: tested[column].to_numpy(dtype=float)}
    wanted, fold = pd.MultiIndex.from_frame(tested[KEY]), members["member"].map(lambda name: fold_of(run_name(name)))
    for number in sorted(set(calibration.folds) - {0}):
        own = members[(fold == number) & (members["part"] != VALIDATION)]
        found[number] = own.groupby(KEY)[column].mean().reindex(wanted).to_numpy(dtype=float)
    return found


def _validation_scans(predictions: pd.DataFrame, members: pd.DataFrame, samples: pd.DataFrame) -> CalibrationScans:
    rows = _one_scan_each(predictions[predictions["part"] == VALIDATION])
    folds = np.zeros(len(rows), dtype=int)
    if "fold" in samples and any(run_name(name).fold for name in members["member"].unique()):
        fold_of = samples.set_index(KEY)["fold"]
        folds = fold_of.reindex(pd.MultiIndex.from_frame(rows[KEY])).fillna(0).to_numpy(dtype=int)
    return CalibrationScans(rows, folds)


def _one_scan_each(rows: pd.DataFrame) -> pd.DataFrame:
    """The first predicted scan, by scan_id, of each participant."""
    known = rows.dropna(subset=["target", "prediction"])
    return known.sort_values(KEY, kind="stable").drop_duplicates(["cohort", "participant_id"])


def _residuals(rows: pd.DataFrame) -> np.ndarray:
    return (rows["target"] - rows["prediction"]).abs().to_numpy(dtype=float)
