"""The baselines on volumes and on tissue maps with inputs that ComBat has harmonised: `evaluation.harmonisation: combat`."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import BaselineFit, joined
from neurocohort.evaluation.baseline_inputs import VOLUMES, leading_components
from neurocohort.evaluation.baselines import (
    NO_VOLUMES,
    Baselines,
    baseline_fault,
    covariates_of,
    linear_predictions,
    volume_inputs,
)
from neurocohort.evaluation.harmonisation import COMBAT, ONE_SITE, Harmonisation
from neurocohort.evaluation.tissue_baselines import centred_products, gaussian_kernel, tissue_model
from neurocohort.evaluation.voxel_baselines import first_fault, kernel_of_fit, ridge, svm_decision, tuned_predictions

Predict = Callable[[np.ndarray], np.ndarray]  # training rows (bool) to predictions of all rows


def harmonised_volumes(
    samples: pd.DataFrame, qc: pd.DataFrame, fits: Sequence[BaselineFit], *, target: str, classes: int
) -> Baselines:
    """``volumes_combat``: the baseline ``volumes`` with harmonised volumes. Arguments: see `value_baselines`.

    In each fit, ComBat is fitted on its training rows.
    """
    name = VOLUMES + COMBAT
    volumes = volume_inputs(samples, qc)
    measured = np.isfinite(volumes).all(axis=1)
    values, people = samples["target"].to_numpy(dtype=float), samples["participant_id"].to_numpy()
    own = [BaselineFit(fit.fold, fit.training & measured, fit.predicted) for fit in fits]
    for fit in own:
        if fault := baseline_fault(name, people[fit.training], values[fit.training], classes):
            return Baselines(left_out={name: fit.about(fault) if fit.training.any() else NO_VOLUMES})
    covariates, harmonisation = covariates_of(samples, target), Harmonisation.of(samples, target)

    def predict(training: np.ndarray) -> np.ndarray:
        columns = np.hstack([harmonisation.applied(volumes, training), covariates])
        found = linear_predictions(columns, values, training, classes)
        found[~measured] = np.nan
        return found

    return _fitted(name, harmonisation, own, predict)


def harmonised_tissues(
    samples: pd.DataFrame, features: np.ndarray, fits: Sequence[BaselineFit], *, target: str, classes: int, seed: int
) -> Baselines:
    """The task's model of tissue maps on their harmonised principal components, with ``_combat`` after its name.

    In each fit, the components are those of its training rows, as many as there are, and ComBat is fitted on these rows.

    Args:
        samples: The experiment's samples.
        features: `features_of_task` of these rows.
        fits: See `value_baselines`, also for the other arguments.
        target: Name of the predicted variable.
        classes: 0 for a regression.
        seed: Seed of the cross-validation.
    """
    name = tissue_model(classes) + COMBAT
    if fault := first_fault(samples, fits, classes):
        return Baselines(left_out={name: fault})
    harmonisation = Harmonisation.of(samples, target)

    def predict(training: np.ndarray) -> np.ndarray:
        components = leading_components(features, training, int(training.sum()))
        products, squares = centred_products(harmonisation.applied(components, training), training)
        if classes:
            kernel = kernel_of_fit(products, training, training)
        else:
            kernel = gaussian_kernel(products, squares, training, training)
        model = svm_decision if classes else ridge
        return tuned_predictions(model, kernel, training, samples, classes=classes, seed=seed)

    return _fitted(name, harmonisation, fits, predict)


def _fitted(name: str, harmonisation: Harmonisation, fits: Sequence[BaselineFit], predict: Predict) -> Baselines:
    for fit in fits:
        if len(harmonisation.known_sites(fit.training)) < 2:
            return Baselines(left_out={name: fit.about(ONE_SITE)})
    return Baselines({name: joined(fits, [predict(fit.training) for fit in fits])})
