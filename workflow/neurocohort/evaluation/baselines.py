"""What a network must beat: a constant, models of tissue volumes, age and sex, linear models of the voxels, and an atlas.

All are fitted on training scans only, and once for each fold with cross-validation, like the networks. So thresholds and bias
lines that are fitted on the out-of-fold predictions are comparable. The tested parts are predicted by a fit on all development
rows, which is a stronger baseline than the mean of the folds. The baselines of a classification weight the classes equally, like
the network's loss.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from neurocohort.dataset.folds import BaselineFit, joined
from neurocohort.evaluation.voxel_baselines import Images, VoxelKernel, voxel_baselines
from neurocohort.imaging.tissues import TISSUES

RIDGE_STRENGTHS = np.logspace(-2, 3, 11)
VOLUME_COLUMNS = [f"volume_{tissue}_ml" for tissue in TISSUES]
SEX_NUMBERS = {"F": 0.0, "M": 1.0}
NO_VOLUMES = (
    "No training cohort has volumes in the scans' own space: a scan in MNI space (`mni_space: true`) was scaled to the "
    "template, and one in native space (`preprocessing.space`) has no tissues."
)
NO_MAP = "an atlas needs at least one label map"
FEWEST_PARTICIPANTS = 3  # for a fit on volumes, age and sex
CONSTANTS = ("mean", "majority")  # need one participant

Model = Callable[[np.ndarray], np.ndarray]  # training rows (bool) to the predictions for every row


@dataclass(frozen=True)
class Baselines:
    """The predictions of each baseline, and the reason, a sentence, for each one that could not be fitted.

    Predictions have one row for each sample: values or probabilities of class 1 (rows,), or (rows, K) probabilities of K > 2
    classes; NaN in the rows that a baseline can't predict.
    """

    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def joined(self, predictions: dict[str, np.ndarray], left_out: dict[str, str]) -> "Baselines":
        """Return these baselines and others."""
        return Baselines(self.predictions | predictions, self.left_out | left_out)


def value_baselines(
    samples: pd.DataFrame,
    qc: pd.DataFrame,
    fits: Sequence[BaselineFit],
    images: Images | VoxelKernel | None,
    *,
    target: str,
    classes: int,
    seed: int,
) -> Baselines:
    """The baselines of a regression or a classification for the rows that one of ``fits`` predicts; NaN for others.

    - ``mean`` or ``majority``: the mean of the training targets, or the proportions of their classes, for everybody.
    - ``age_sex`` and ``volumes``: ridge or logistic regression on age and sex, or on the fractions of CSF, GM and WM, the brain's
      volume, age and sex. If the target is age or sex, ``volumes`` goes without it and there is no ``age_sex``. Missing values
      are replaced by the training mean. ``volumes`` is NaN for cohorts without volumes in the scans' own space.
    - ``voxel_ridge`` and ``voxel_svm``: see `voxel_baselines`; only with ``images``.

    A baseline that can't be fitted in one fold is left out.

    Args:
        samples: scan_id, participant_id, cohort, target, age, sex.
        qc: Quality tables of the cohorts, for the volumes; these are n/a for scans in MNI space.
        fits: See `baseline_fits`; the first one's training rows include those of the others.
        images: Reads the volumes of rows of ``samples``, or their kernel.
        target: Name of the predicted variable.
        classes: Number of classes of a classification, coded from 0; 0 for a regression.
        seed: Seed of the folds within the training rows.
    """
    values, people = samples["target"].to_numpy(dtype=float), samples["participant_id"].to_numpy()
    volumes = _volumes(samples, qc)
    measured = volumes.groupby("cohort")["volume_brain_ml"].transform("count").to_numpy() > 0  # by cohort
    found = Baselines()
    for name, model in _models(_inputs(samples, volumes, target), values, classes).items():
        usable = measured if name == "volumes" else np.ones(len(samples), dtype=bool)
        fitted = [fit.training & usable for fit in fits]
        faults = [
            fit.about(baseline_fault(name, people[rows], values[rows], classes))
            for fit, rows in zip(fits, fitted, strict=True)
        ]
        if fits[0].training.any() and not fitted[0].any():
            found.left_out[name] = NO_VOLUMES
        elif fault := next(filter(None, faults), ""):
            found.left_out[name] = fault
        else:
            found.predictions[name] = joined(fits, [model(rows) for rows in fitted])
            found.predictions[name][~usable] = np.nan
    if images is not None:
        return found.joined(*voxel_baselines(samples, images, fits=fits, classes=classes, seed=seed))
    return found


def atlases(
    fits: Sequence[BaselineFit],
    label_maps: Callable[[np.ndarray], Iterable[np.ndarray]],
    structures: int = len(TISSUES),
) -> dict[int, np.ndarray]:
    """The registered atlas of each fit by its fold, (X, Y, Z) uint8: the most frequent label of each voxel in the training maps.

    Ties are resolved to the lowest label. Each map is read once for the first fit and once for its own fold: the counts of a
    fold are those of the first fit minus the maps that the fold leaves out.

    Args:
        fits: See `baseline_fits`.
        label_maps: Yields the maps of the given rows, (rows,) bool, one at a time.
        structures: Their number.

    Raises:
        ValueError: If a fit has no training row.
    """
    if not all(fit.training.any() for fit in fits):
        raise ValueError(NO_MAP)
    first = fits[0].training
    whole = _label_counts(label_maps(first), structures)
    found = {}
    for fit in fits:
        left_out = first & ~fit.training
        counts = whole - _label_counts(label_maps(left_out), structures) if left_out.any() else whole
        found[fit.fold] = counts.argmax(axis=0).astype(np.uint8)
    return found


def covariates_of(samples: pd.DataFrame, target: str) -> np.ndarray:
    """Age and sex as numbers, (rows, 2), without the one that is the ``target``; NaN where they are missing."""
    fair = [name for name in ("age", "sex") if name != target]
    return samples.assign(sex=samples["sex"].map(SEX_NUMBERS))[fair].to_numpy(dtype=float)


def volume_inputs(samples: pd.DataFrame, qc: pd.DataFrame) -> np.ndarray:
    """The fractions of CSF, GM and WM and the brain's volume, (rows, 4); NaN where the quality table has no volume."""
    return _fractions_and_brain(_volumes(samples, qc))


def linear_predictions(columns: np.ndarray, values: np.ndarray, training: np.ndarray, classes: int) -> np.ndarray:
    """Predictions for all rows by ridge regression, or by logistic regression with ``classes``, fitted on ``training``."""
    if classes:
        return _logistic(columns, values.astype(int), training, classes)
    return _ridge(columns, values, training)


def _label_counts(label_maps: Iterable[np.ndarray], structures: int) -> np.ndarray:
    """The number of maps with each label at each voxel, (labels, X, Y, Z) uint32."""
    counts = None
    for labels in label_maps:
        if counts is None:
            counts = np.zeros((structures + 1, *labels.shape), dtype=np.uint32)
        for label, count in enumerate(counts):
            count += labels == label
    if counts is None:
        raise ValueError(NO_MAP)
    return counts


def _volumes(samples: pd.DataFrame, qc: pd.DataFrame) -> pd.DataFrame:
    """scan_id, cohort and volumes of each row of ``samples``; missing where the quality table has no volume."""
    key = [name for name in ("cohort", "scan_id") if name in qc]  # two cohorts may have scans of one name
    own_volumes = qc.reindex(columns=[*key, "volume_brain_ml", *VOLUME_COLUMNS])
    return samples[["scan_id", "cohort"]].merge(own_volumes, on=key, how="left", validate="1:1")


def _inputs(samples: pd.DataFrame, volumes: pd.DataFrame, target: str) -> dict[str, np.ndarray]:
    """The columns on which each baseline is fitted, (rows, columns)."""
    covariates = covariates_of(samples, target)
    inputs = {"age_sex": covariates} if covariates.shape[1] == 2 else {}
    return inputs | {"volumes": np.hstack([_fractions_and_brain(volumes), covariates])}


def _fractions_and_brain(volumes: pd.DataFrame) -> np.ndarray:
    brain = volumes[["volume_brain_ml"]].to_numpy(dtype=float)
    return np.hstack([volumes[VOLUME_COLUMNS].to_numpy(dtype=float) / brain, brain])


def _models(inputs: dict[str, np.ndarray], values: np.ndarray, classes: int) -> dict[str, Model]:
    models: dict[str, Model] = {}
    if not classes:
        models["mean"] = lambda training: np.full(len(values), values[training].mean())
        return models | {name: partial(_ridge, columns, values) for name, columns in inputs.items()}
    codes = values.astype(int)
    models["majority"] = lambda training: _proportions(codes[training], classes, len(codes))
    return models | {name: partial(_logistic, columns, codes, classes=classes) for name, columns in inputs.items()}


def _proportions(codes: np.ndarray, classes: int, rows: int) -> np.ndarray:
    found = np.bincount(codes, minlength=classes) / len(codes)
    return np.full(rows, found[1]) if classes == 2 else np.tile(found, (rows, 1))


def baseline_fault(name: str, people: np.ndarray, values: np.ndarray, classes: int) -> str:
    """Why the baseline can't be fitted on these training rows, a sentence; empty where it can."""
    count, fewest = len(set(people)), 1 if name in CONSTANTS else FEWEST_PARTICIPANTS
    if count < fewest:
        return f"The training scans are of {count} participant(s); a fit needs {fewest}."
    if name not in CONSTANTS and classes and len(set(values)) < 2:
        return "All training scans are of one class; a fit needs two."
    return ""


def _prepared(model: object) -> Pipeline:
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)


def _ridge(columns: np.ndarray, values: np.ndarray, training: np.ndarray) -> np.ndarray:
    return _prepared(RidgeCV(RIDGE_STRENGTHS)).fit(columns[training], values[training]).predict(columns)


def _logistic(columns: np.ndarray, codes: np.ndarray, training: np.ndarray, classes: int) -> np.ndarray:
    model = _prepared(LogisticRegression(max_iter=1000, class_weight="balanced"))
    model.fit(columns[training], codes[training])
    probabilities = np.zeros((len(columns), classes))
    probabilities[:, model.classes_] = model.predict_proba(columns)  # a class without a training scan stays at 0
    return probabilities[:, 1] if classes == 2 else probabilities
