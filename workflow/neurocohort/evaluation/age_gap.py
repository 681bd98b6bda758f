"""Logistic models of a diagnosis from few numbers of the tissue maps: how much there is of each tissue, or the brain-age gap.

The brain age is that of kernel ridge regression on the maps, fitted on the training rows of the same fit. The gap of a training
row comes from a regression that was fitted without its participant, as that of a tested row does.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from neurocohort.dataset.folds import BaselineFit, joined
from neurocohort.evaluation.baselines import covariates_of, linear_predictions
from neurocohort.evaluation.tissue_baselines import CHANNELS, centred_products, gaussian_kernel
from neurocohort.evaluation.voxel_baselines import FOLDS, first_fault, ridge, tuned_predictions

AMOUNTS, GAP = "tissue_amounts", "brain_age_gap"
FEWEST_AGES = 20  # participants with an age in a fit: brain age from fewer is mostly noise


def gap_baselines(
    samples: pd.DataFrame, features: np.ndarray, fits: Sequence[BaselineFit], *, target: str, classes: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Probabilities by the two models for the rows that ``fits`` predict, else NaN; and why one is missing.

    ``tissue_amounts``: logistic regression on the mean of each tissue's map, age and sex. ``brain_age_gap``: on predicted minus
    true age, age and sex. Rows without an age get the mean gap of the training rows.

    Args:
        samples: participant_id, target, age, sex.
        features: Smoothed maps of all tissues, see `tissue_baselines.smoothed_features`.
        fits: See `baselines.value_baselines`.
        target: Name of the classes' variable.
        classes: Their number.
        seed: Seed of the cross-validations.
    """
    if fault := first_fault(samples, fits, classes):
        return {}, {AMOUNTS: fault, GAP: fault}
    targets, covariates = samples["target"].to_numpy(dtype=float), covariates_of(samples, target)
    amounts = features.reshape(len(features), len(CHANNELS), -1).mean(axis=2)
    columns = np.hstack([amounts, covariates])
    found = {AMOUNTS: joined(fits, [linear_predictions(columns, targets, fit.training, classes) for fit in fits])}
    known = samples["age"].notna().to_numpy()
    for fit in fits:
        if (count := samples["participant_id"][fit.training & known].nunique()) < FEWEST_AGES:
            few = f"The training scans are of {count} participant(s) with an age; a brain age needs {FEWEST_AGES}."
            return found, {GAP: fit.about(few)}
    products, squares = centred_products(features, fits[0].training)
    predictions = []
    for fit in fits:
        ages = brain_ages(samples, (products, squares, fits[0].training), fit.training & known, seed)
        gap = ages - samples["age"].to_numpy(dtype=float)
        predictions.append(linear_predictions(np.hstack([gap[:, None], covariates]), targets, fit.training, classes))
    return found | {GAP: joined(fits, predictions)}, {}


def brain_ages(
    samples: pd.DataFrame, products: tuple[np.ndarray, np.ndarray, np.ndarray], training: np.ndarray, seed: int
) -> np.ndarray:
    """The predicted age of every row, (rows,); that of a ``training`` row by a fit on the other participants' rows."""
    aged = samples.assign(target=samples["age"].fillna(samples["age"][training].mean()))

    def fitted_on(rows: np.ndarray) -> np.ndarray:
        return tuned_predictions(ridge, gaussian_kernel(*products, rows), rows, aged, classes=0, seed=seed)

    ages = fitted_on(training)
    places = np.flatnonzero(training)
    people = samples["participant_id"].to_numpy()[training]
    for _, left_out in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(people, groups=people):
        others = training.copy()
        others[places[left_out]] = False
        ages[places[left_out]] = fitted_on(others)[places[left_out]]
    return ages
