"""Conformal prediction intervals of a regression: around each prediction an interval that should contain the true value for 95 %
of new participants.

Without cross-validation it is split-conformal (Lei et al. 2018, Journal of the American Statistical Association 113, 1094-1111),
from the errors on the validation scans. The epoch was chosen on these scans, so that the coverage is approximate. With
cross-validation it is CV+ (Barber et al. 2021, Annals of Statistics 49, 486-507), from the errors out of fold. Both assume that
tested participants are exchangeable with those of the validation, which those of an external cohort are not.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import CONFIDENCE, wilson_interval
from neurocohort.evaluation.measures import EXTERNAL, NETWORK, VALIDATION, judged_parts, too_few
from neurocohort.evaluation.rows import DECIMALS, NAN, DetailRow, Estimate

SETTING = "prediction interval"
FEWEST = math.ceil(CONFIDENCE / (1 - CONFIDENCE) - 1e-9)  # 19 participants: with fewer, the interval is infinite
INTERVAL_COLUMNS = [
    *("cohort", "part", "scan_id", "participant_id", "target", "prediction"),
    *("interval_low", "interval_high"),
]
KEY = ["cohort", "scan_id"]
FOLD = r"fold-(\d+)_"


@dataclass(frozen=True)
class Calibration:
    """What intervals are made from: one scan of each participant that no network was trained on.

    ``residuals``: absolute errors, (participants,). ``folds``: the fold of each, (participants,), 0 without cross-validation.
    """

    residuals: np.ndarray
    folds: np.ndarray

    @property
    def enough(self) -> bool:
        """Whether there are enough for a finite interval."""
        return len(self.residuals) >= FEWEST


def calibration_of(predictions: pd.DataFrame, members: pd.DataFrame, samples: pd.DataFrame) -> Calibration:
    """The calibration from the validation rows of ``predictions``, with the first scan (by scan_id) of each participant.

    Args:
        predictions: The network's rows.
        members: The rows of the single networks; with cross-validation their names begin with ``fold-1_`` and so on.
        samples: samples.tsv, with ``fold``.
    """
    rows = predictions[predictions["part"] == VALIDATION].dropna(subset=["target", "prediction"])
    rows = rows.sort_values([*KEY], kind="stable").drop_duplicates(["cohort", "participant_id"])
    folds = np.zeros(len(rows), dtype=int)
    if "fold" in samples and members["member"].str.match(FOLD).any():
        fold_of = samples.set_index(KEY)["fold"]
        folds = fold_of.reindex(pd.MultiIndex.from_frame(rows[KEY])).fillna(0).to_numpy(dtype=int)
    return Calibration((rows["target"] - rows["prediction"]).abs().to_numpy(dtype=float), folds)


def prediction_intervals(
    predictions: pd.DataFrame, members: pd.DataFrame, calibration: Calibration | None
) -> pd.DataFrame:
    """intervals.tsv: INTERVAL_COLUMNS, one row for each tested scan of a regression; limits are missing for fewer than FEWEST
    calibration participants.

    Args:
        predictions: The network's rows.
        members: The rows of the single networks.
        calibration: See `calibration_of`; None for a task other than regression, whose table has no rows.
    """
    if calibration is None:
        return pd.DataFrame(columns=INTERVAL_COLUMNS)
    tested = predictions[predictions["part"] != VALIDATION].reset_index(drop=True)
    low = high = np.full(len(tested), np.nan)
    if calibration.enough:
        low, high = conformal_limits(_by_fold(tested, members, calibration), calibration)
    limits = {"interval_low": np.round(low, DECIMALS), "interval_high": np.round(high, DECIMALS)}
    return tested.assign(**limits)[INTERVAL_COLUMNS]


def conformal_limits(by_fold: dict[int, np.ndarray], calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """Low and high, (scans,) each, from the predictions of the networks of each fold (or under 0, of all), (scans,).

    Each calibration participant gives a pair of limits: the prediction of the networks that didn't see the participant, minus and
    plus the residual. Of n pairs the floor(0.05 (n + 1))-th smallest lower and the ceil(0.95 (n + 1))-th smallest upper limit
    count. With one prediction for all, this is the prediction minus and plus one quantile of the residuals.
    """
    count = len(calibration.residuals)
    place = math.ceil(CONFIDENCE * (count + 1) - 1e-9)  # 20 * 0.95 may be slightly above 19
    centres = np.stack([by_fold[fold] for fold in calibration.folds], axis=-1)  # (scans, participants)
    low = np.sort(centres - calibration.residuals, axis=-1)[:, count - place]
    high = np.sort(centres + calibration.residuals, axis=-1)[:, place - 1]
    return low, high


def interval_details(intervals: pd.DataFrame, calibration: Calibration) -> Iterator[DetailRow]:
    """Rows of details.tsv with the setting SETTING: ``coverage``, the fraction of the scans whose interval contains the true
    value, and ``interval_width``, their mean width; missing where there are too few calibration participants."""
    note = _note(calibration)
    for part in judged_parts(intervals.assign(model=NETWORK)):
        table, people = part.table, part.table["participant_id"].nunique()
        if too_few(table):
            continue
        width = table["interval_high"] - table["interval_low"]
        inside = table["target"].between(table["interval_low"], table["interval_high"])
        covered = float(inside.mean()) if calibration.enough else NAN
        low, high = wilson_interval(covered, people)
        found = [
            Estimate("coverage", covered, low, high, "wilson" if calibration.enough else "none", people),
            Estimate("interval_width", float(width.mean()), n=people),
        ]
        abroad = " They hold for participants like those of the training cohorts; this cohort's may differ."
        yield from part.details("all", SETTING, note + (abroad if part.part == EXTERNAL else ""), found)


def _note(calibration: Calibration) -> str:
    count, folded = len(calibration.residuals), bool(calibration.folds.any())
    if not calibration.enough:
        return f"No intervals: {count} validation participants, and a finite interval needs {FEWEST}."
    if folded:
        return f"95 % intervals by CV+ from the errors out of fold of {count} participants; CV+ guarantees 90 %."
    return (
        f"95 % split-conformal intervals from the errors of {count} validation participants, on whom the epoch was chosen too: "
        "the coverage is approximate."
    )


def _by_fold(tested: pd.DataFrame, members: pd.DataFrame, calibration: Calibration) -> dict[int, np.ndarray]:
    """The mean prediction of each tested scan by the networks of each fold; under 0 that of all networks."""
    found = {0: tested["prediction"].to_numpy(dtype=float)}
    wanted, fold = pd.MultiIndex.from_frame(tested[KEY]), members["member"].str.extract(FOLD)[0]
    for number in sorted(set(calibration.folds) - {0}):
        own = members[(fold == str(number)) & (members["part"] != VALIDATION)]
        found[number] = own.groupby(KEY)["prediction"].mean().reindex(wanted).to_numpy(dtype=float)
    return found
