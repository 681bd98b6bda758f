"""The arithmetic of conformal prediction intervals and sets. It needs numpy alone, because it is copied into bundles.

Where the calibration participants were left out of some networks (folds), each is compared with the prediction of a new scan by
exactly those networks; with one fold, 0, by the mean of all networks.
"""

import math
from collections.abc import Sequence

import numpy as np

DECIMALS = 6


def place_of_quantile(count: int, confidence: float) -> int:
    """The place of the quantile among ``count`` sorted errors, from 1; above ``count`` it is infinite."""
    return math.ceil(confidence * (count + 1) - 1e-9)  # 20 * 0.95 may be slightly above 19


def interval_limits(centres: np.ndarray, errors: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Low and high, (scans,) each.

    Each calibration participant gives a pair of limits: the prediction minus and plus the error. Of n pairs the
    floor(0.05 (n + 1))-th smallest lower and the ceil(0.95 (n + 1))-th smallest upper limit count, for a confidence of 0.95. With
    one prediction for all, this is the prediction minus and plus one quantile of the errors.

    Args:
        centres: The prediction of each scan by the networks that didn't see the participant, (scans, participants).
        errors: Absolute errors, (participants,).
        confidence: Such as 0.95.
    """
    place = place_of_quantile(len(errors), confidence)
    low = np.sort(centres - errors, axis=-1)[:, len(errors) - place]
    high = np.sort(centres + errors, axis=-1)[:, place - 1]
    return low, high


def class_is_in_set(probabilities: np.ndarray, errors: np.ndarray, confidence: float) -> np.ndarray:
    """Whether the set of each scan has a class, (scans,) bool: where fewer than ceil(0.95 (n + 1)) of the n calibration
    participants of the class have a smaller error than the scan would have, if it were of the class.

    Args:
        probabilities: Of the class, by the networks that didn't see the participant, (scans, participants).
        errors: 1 minus the probability of the class, of the participants of the class, (participants,).
        confidence: Such as 0.95.
    """
    own = np.round(1 - probabilities, DECIMALS)  # predictions are rounded too: a tie must stay one
    smaller = (np.round(errors, DECIMALS) < own).sum(axis=-1)
    return smaller < place_of_quantile(len(errors), confidence)


def set_text(classes: Sequence[int]) -> str:
    """A set of classes as text, such as ``{0, 1}``; ``{}`` without any."""
    return "{" + ", ".join(map(str, classes)) + "}"


class Intervals:
    """Makes the columns ``interval_low`` and ``interval_high`` of a bundle's predictions."""

    def __init__(self, errors: list[float], folds: list[int], member_folds: list[int], confidence: float):
        """Store the calibration.

        Args:
            errors: Absolute errors of the calibration participants.
            folds: The fold of each; 0 where all networks left them out.
            member_folds: The fold that each network left out.
            confidence: Such as 0.95.
        """
        self.errors, self.folds, self.member_folds = np.array(errors), folds, member_folds
        self.confidence = confidence

    def columns(self, members: Sequence[np.ndarray]) -> dict[str, float | str]:
        """The columns of one scan from the value that each network predicts."""
        centres = _of_participants(members, self.folds, self.member_folds)
        low, high = interval_limits(centres[None], self.errors, self.confidence)
        return {
            "interval_low": round(float(low[0]), DECIMALS),
            "interval_high": round(float(high[0]), DECIMALS),
        }


class Sets:
    """Makes the column ``set`` of a bundle's predictions."""

    def __init__(self, errors: list[list[float]], folds: list[list[int]], member_folds: list[int], confidence: float):
        """Store the calibration: of each class what `Intervals` has once."""
        self.errors, self.folds, self.member_folds = [np.array(own) for own in errors], folds, member_folds
        self.confidence = confidence

    def columns(self, members: Sequence[np.ndarray]) -> dict[str, float | str]:
        """The column of one scan from the probabilities (K,) that each network predicts."""
        found = []
        for code, (errors, folds) in enumerate(zip(self.errors, self.folds, strict=True)):
            own = _of_participants([member[code] for member in members], folds, self.member_folds)
            if class_is_in_set(own[None], errors, self.confidence)[0]:
                found.append(code)
        return {"set": set_text(found)}


def _of_participants(members: Sequence[np.ndarray], folds: list[int], member_folds: list[int]) -> np.ndarray:
    """The mean prediction by the networks that left each calibration participant out, (participants,)."""
    values, left_out = np.asarray(members, dtype=float), np.array(member_folds)
    means = {fold: values[left_out == fold].mean() for fold in set(folds) - {0}} | {0: values.mean()}
    return np.array([means[fold] for fold in folds])
