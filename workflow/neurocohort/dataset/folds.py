"""The parts of samples in one training of a cross-validation, and the rows of each fit of a baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

TRAIN, VALIDATION = "train", "validation"
FOLDED_PARTS = (TRAIN, VALIDATION)  # the held-out part is in no fold: no choice may depend on it
HELD_OUT, EXTERNAL = "held-out", "external"
SHUFFLED = "target_test-{}"  # the column of a control's targets in the networks of a test fold


def with_test_fold(samples: pd.DataFrame, test_fold: int) -> pd.DataFrame:
    """Return the samples as one test fold sees them: its own are ``held-out``, the others keep ``train`` or ``validation``.

    External samples stay external. The column ``test_fold`` becomes ``test_fold`` in all rows but the external ones: that of
    the networks that use the row. A control has permuted targets of its own for each test fold (`shuffled_by_test_fold`), which
    become the target of the rows trained and validated on. Test fold 0 keeps the samples: there are no test folds.
    """
    if test_fold == 0:
        return samples
    tested = samples["part"] != EXTERNAL
    own_fold = (pd.to_numeric(samples["test_fold"]) == test_fold).fillna(False).astype(bool)
    part = samples["part"].mask(tested & own_fold, HELD_OUT)
    number = pd.Series(test_fold, index=samples.index, dtype="Int64").where(tested)
    found = samples.assign(part=part, test_fold=number)
    own = SHUFFLED.format(test_fold)
    return found.assign(target=samples[own]) if own in samples else found


def test_fold_numbers(samples: pd.DataFrame) -> list[int]:
    """The test folds of samples, 1 to their number; ``[0]`` without test folds."""
    return sorted(map(int, samples["test_fold"].dropna().unique())) if "test_fold" in samples else [0]


@dataclass(frozen=True)
class BaselineFit:
    """One fit of a baseline.

    Attributes:
        fold: The fold that is predicted; 0 for the fit that predicts the tested parts.
        training: The rows that are fitted, (rows,) bool.
        predicted: The rows that are predicted, (rows,) bool; none is in ``training``.
    """

    fold: int
    training: np.ndarray
    predicted: np.ndarray

    def about(self, reason: str) -> str:
        """Return ``reason``, a sentence or nothing, with its fold."""
        return f"In fold {self.fold}: {reason}" if reason and self.fold else reason


def with_fold(samples: pd.DataFrame, fold: int) -> pd.DataFrame:
    """Return the samples with their ``part`` in the training of a fold.

    Of train and validation together, the fold's samples are ``validation`` and the others ``train``. Fold 0 keeps the split's
    parts.
    """
    if fold == 0:
        return samples
    development = samples["part"].isin(FOLDED_PARTS)
    part = samples["part"].mask(development, "train").mask(development & (samples["fold"] == fold), "validation")
    return samples.assign(part=part)


def baseline_fits(samples: pd.DataFrame, folds: int) -> list[BaselineFit]:
    """Return the fits of a baseline for all rows that the networks predict.

    Without cross-validation there is one fit, on ``train``, for all other rows. With it there is one fit on all development
    rows for the held-out and external rows, and one fit per fold on the development rows of the other folds, as for the
    networks. A fold without rows has no fit. A development row without a fold is in the training rows of every fit.

    Args:
        samples: Table with part, and with cross-validation also fold.
        folds: Number of folds; 0 without cross-validation.
    """
    if not folds:
        training = (samples["part"] == "train").to_numpy()
        return [BaselineFit(0, training, ~training)]
    development = samples["part"].isin(FOLDED_PARTS).to_numpy()
    fits = [BaselineFit(0, development, ~development)]
    for fold in range(1, folds + 1):
        part = with_fold(samples, fold)["part"].to_numpy()
        if (part == "validation").any():
            fits.append(BaselineFit(fold, part == "train", part == "validation"))
    return fits


def with_one_fit(samples: pd.DataFrame, folds: int) -> pd.DataFrame:
    """Return the samples for a single fit of a baseline that predicts the tested parts: no row is in ``validation``.

    With cross-validation its rows are trained on, since each of them trains some of the networks; else they are left out.
    """
    if folds:
        return samples.assign(part=samples["part"].mask(samples["part"].isin(FOLDED_PARTS), "train"))
    return samples[samples["part"] != "validation"]


def predicted_rows(samples: pd.DataFrame, fits: list[BaselineFit]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the rows of ``samples`` that a fit predicts, in their order, and a mask of them, (rows,) bool.

    The ``part`` of a fold's rows is ``validation`` as in the networks' predictions, also if the split has another one.
    """
    predicted = np.any([fit.predicted for fit in fits], axis=0)
    in_fold = np.any([fit.predicted & (fit.fold > 0) for fit in fits], axis=0)
    return samples.assign(part=samples["part"].mask(in_fold, "validation"))[predicted], predicted


def rows_to_predict(samples: pd.DataFrame, folds: int) -> pd.DataFrame:
    """Return the rows of `predicted_rows` for ``folds``; with test folds those of each of them, and external rows once."""
    numbers = test_fold_numbers(samples)
    if numbers == [0]:
        return predicted_rows(samples, baseline_fits(samples, folds))[0]
    external = samples["part"] == EXTERNAL
    tables = []
    for number in numbers:
        own = with_test_fold(samples[~external], number)
        tables.append(predicted_rows(own, baseline_fits(own, folds))[0])
    return pd.concat([*tables, samples[external]], ignore_index=True)


def joined(fits: Sequence[BaselineFit], predictions: Sequence[np.ndarray]) -> np.ndarray:
    """Join the predictions of the fits, (rows, ...) each: every row has those of its own fit, or NaN without one."""
    found = np.full(predictions[0].shape, np.nan)
    for fit, values in zip(fits, predictions, strict=True):
        found[fit.predicted] = values[fit.predicted]
    return found
