"""What a network must beat: a constant, models of tissue volumes, age and sex, linear models of the voxels, and the atlas.

All are fitted on the training scans alone. A classification's baselines weigh the classes alike, as the network's loss does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurocohort.evaluation.voxel_baselines import Images, voxel_baselines
from neurocohort.imaging.tissues import TISSUES

RIDGE_STRENGTHS = np.logspace(-2, 3, 11)
VOLUME_COLUMNS = [f"volume_{tissue}_ml" for tissue in TISSUES]
SEX_NUMBERS = {"F": 0.0, "M": 1.0}
NO_VOLUMES = (
    "No training cohort has volumes in the scans' own space: a scan in MNI space (`mni_space: true`) was scaled to the "
    "template."
)
FEWEST_PARTICIPANTS = 3  # for a fit on volumes, age and sex
REGRESSION, CLASSIFICATION = "regression", "classification"


@dataclass(frozen=True)
class Baselines:
    """``predictions`` by baseline, a row a sample: values or probabilities of class 1 (rows,), or (rows, K) probabilities of
    K > 2 classes; NaN in the rows that a baseline can't predict. ``left_out``: by baseline that could not be fitted, the reason
    as a sentence.
    """

    predictions: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def value_baselines(
    samples: pd.DataFrame,
    qc: pd.DataFrame,
    kind: str,
    *,
    training: np.ndarray,
    target: str,
    images: Images | None,
    seed: int,
    classes: int = 2,
) -> Baselines:
    """The baselines of a regression or a classification for every row of ``samples``, fitted on the rows ``training`` (bool).

    - ``mean`` or ``majority``: the mean of the training targets, or the shares of their classes, for everybody.
    - ``age_sex`` and ``volumes``: ridge or logistic regression on age and sex, or on the shares of CSF, GM and WM, the brain's
      volume, age and sex. A variable is no fair input to its own prediction: with ``target`` age or sex that one is left out
      of ``volumes``, and there is no ``age_sex``. Missing values take the training mean. Only cohorts with volumes in the
      scans' own space take part in ``volumes``: it is fitted on their rows, and is NaN for the rows of a cohort without any.
    - ``voxel_ridge`` and ``voxel_svm``: see `voxel_baselines`; left out without a word where ``images`` is None.

    ``samples``: scan_id, participant_id, cohort, target, age, sex. ``qc``: the cohorts' quality tables, for the volumes, which
    are n/a for scans in MNI space. ``classes``: of a classification, coded 0 to ``classes`` - 1. ``seed``: of the folds within
    the training rows.

    What a baseline says of its own training rows is no test of it. With cross-validation those are all but the held-out ones, so
    its validation rows, on which a threshold or a bias correction is fitted, flatter it; the network's do not.
    """
    own_volumes = qc.reindex(columns=["scan_id", "volume_brain_ml", *VOLUME_COLUMNS])
    volumes = samples[["scan_id", "cohort"]].merge(own_volumes, on="scan_id", how="left", validate="1:1")
    measured = volumes.groupby("cohort")["volume_brain_ml"].transform("count").to_numpy() > 0
    fair = [name for name in ("age", "sex") if name != target]
    covariates = samples.assign(sex=samples["sex"].map(SEX_NUMBERS))[fair].to_numpy(dtype=float)
    shares = volumes[VOLUME_COLUMNS].to_numpy(dtype=float) / volumes[["volume_brain_ml"]].to_numpy(dtype=float)
    inputs = {"age_sex": covariates} if len(fair) == 2 else {}
    inputs["volumes"] = np.hstack([shares, volumes[["volume_brain_ml"]].to_numpy(dtype=float), covariates])

    values = samples["target"].to_numpy(dtype=float)
    found = Baselines()
    if kind == REGRESSION:
        found.predictions["mean"] = np.full(len(samples), values[training].mean())
    else:
        found.predictions["majority"] = _shares(values[training].astype(int), classes, len(samples))
    people = samples["participant_id"].to_numpy()
    for name, columns in inputs.items():
        usable = measured if name == "volumes" else np.ones(len(samples), dtype=bool)
        fitted = training & usable
        fault = _fault(people[fitted], values[fitted], kind)
        if training.any() and not fitted.any():
            found.left_out[name] = NO_VOLUMES
        elif fault:
            found.left_out[name] = fault
        else:
            if kind == REGRESSION:
                predicted = _ridge(columns, values, fitted)
            else:
                predicted = _logistic(columns, values.astype(int), fitted, classes)
            predicted[~usable] = np.nan
            found.predictions[name] = predicted
    if images is not None:
        voxels, left_out = voxel_baselines(
            samples, images, training=training, classes=0 if kind == REGRESSION else classes, seed=seed
        )
        found.predictions.update(voxels)
        found.left_out.update(left_out)
    return found


def atlas_labels(label_maps: Iterable[np.ndarray]) -> np.ndarray:
    """The registered atlas: each voxel's most frequent label in the training part's maps, (X, Y, Z) uint8 each, taken one by
    one; of equally frequent labels the lowest. Raises ValueError where there is no map.
    """
    counts = None
    for labels in label_maps:
        if counts is None:
            counts = np.zeros((len(TISSUES) + 1, *labels.shape), dtype=np.uint32)
        for label, count in enumerate(counts):
            count += labels == label
    if counts is None:
        raise ValueError("an atlas needs a label map at least")
    return counts.argmax(axis=0).astype(np.uint8)


def _shares(codes: np.ndarray, classes: int, rows: int) -> np.ndarray:
    shares = np.bincount(codes, minlength=classes) / len(codes)
    return np.full(rows, shares[1]) if classes == 2 else np.tile(shares, (rows, 1))


def _fault(people: np.ndarray, values: np.ndarray, kind: str) -> str:
    count = len(set(people))
    if count < FEWEST_PARTICIPANTS:
        return f"The training scans are of {count} participant(s); a fit needs {FEWEST_PARTICIPANTS}."
    if kind == CLASSIFICATION and len(set(values)) < 2:
        return "All training scans are of one class; a fit needs two."
    return ""


def _prepared(model: object):
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)


def _ridge(columns: np.ndarray, values: np.ndarray, training: np.ndarray) -> np.ndarray:
    return _prepared(RidgeCV(RIDGE_STRENGTHS)).fit(columns[training], values[training]).predict(columns)


def _logistic(columns: np.ndarray, codes: np.ndarray, training: np.ndarray, classes: int) -> np.ndarray:
    model = _prepared(LogisticRegression(max_iter=1000, class_weight="balanced"))
    model.fit(columns[training], codes[training])
    probabilities = np.zeros((len(columns), classes))
    probabilities[:, model.classes_] = model.predict_proba(columns)  # a class without a training scan stays at 0
    return probabilities[:, 1] if classes == 2 else probabilities
