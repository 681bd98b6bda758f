"""Which part a sample has in one training of a cross-validation, and which rows each fit of a baseline is for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

FOLDED_PARTS = ("train", "validation")  # the held-out part is outside every fold: no choice may see it


@dataclass(frozen=True)
class BaselineFit:
    """One fit of a baseline: on the rows ``training`` for the rows ``predicted``, (rows,) bool both, with no row in common.

    ``fold``: the fold that ``predicted`` is; 0 for the fit whose predictions the tested parts get.
    """

    fold: int
    training: np.ndarray
    predicted: np.ndarray

    def about(self, reason: str) -> str:
        """``reason``, a sentence or nothing, with the fold that it holds for."""
        return f"In fold {self.fold}: {reason}" if reason and self.fold else reason


def with_fold(samples: pd.DataFrame, fold: int) -> pd.DataFrame:
    """The samples with the ``part`` that they have where ``fold`` validates: of train and validation together, the fold's
    samples are ``validation`` and the others ``train``. Fold 0 leaves the split's own parts.
    """
    if fold == 0:
        return samples
    development = samples["part"].isin(FOLDED_PARTS)
    part = samples["part"].mask(development, "train").mask(development & (samples["fold"] == fold), "validation")
    return samples.assign(part=part)


def baseline_fits(samples: pd.DataFrame, folds: int) -> list[BaselineFit]:
    """The fits that give a baseline its predictions for the rows that the networks predict.

    Without cross-validation (``folds`` 0): one, on the part ``train``, for all other rows. With it: one on all development
    rows for the held-out and external ones, and one a fold, on the development rows of the other folds, as a network of that
    fold is trained. A fold without rows has no fit. A development row of no fold is in every fit's training rows.

    ``samples``: part, and with ``folds`` also fold.
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


def predicted_rows(samples: pd.DataFrame, fits: list[BaselineFit]) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of ``samples`` that one of ``fits`` predicts, in their order, and which these are, (rows,) bool.

    A fold's rows are called ``validation`` in ``part`` whatever the split says of them, as in the networks' predictions.
    """
    predicted = np.any([fit.predicted for fit in fits], axis=0)
    in_fold = np.any([fit.predicted & (fit.fold > 0) for fit in fits], axis=0)
    return samples.assign(part=samples["part"].mask(in_fold, "validation"))[predicted], predicted


def joined(fits: Sequence[BaselineFit], predictions: Sequence[np.ndarray]) -> np.ndarray:
    """One array from the ``predictions`` of each fit, (rows, ...) each: of a fit the rows that it is for; NaN where none is."""
    found = np.full(predictions[0].shape, np.nan)
    for fit, values in zip(fits, predictions, strict=True):
        found[fit.predicted] = values[fit.predicted]
    return found
