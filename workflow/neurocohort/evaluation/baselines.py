"""What a network must beat: a constant, models of tissue volumes, age and sex, linear models of the voxels, and the atlas.

All are fitted on training scans alone, with cross-validation once for each fold, as the networks are. A classification's
baselines weigh the classes alike, as the network's loss does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurocohort.dataset.folds import BaselineFit, joined
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
CONSTANTS = ("mean", "majority")  # which need one
REGRESSION, CLASSIFICATION = "regression", "classification"

Model = Callable[[np.ndarray], np.ndarray]  # training rows (bool) to the predictions for every row


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
    fits: Sequence[BaselineFit],
    target: str,
    images: Images | None,
    seed: int,
    classes: int = 2,
) -> Baselines:
    """The baselines of a regression or a classification for the rows that one of ``fits`` predicts; NaN for others.

    - ``mean`` or ``majority``: the mean of the training targets, or the proportions of their classes, for everybody.
    - ``age_sex`` and ``volumes``: ridge or logistic regression on age and sex, or on the fractions of CSF, GM and WM, the brain's
      volume, age and sex. A variable is no fair input to its own prediction: with ``target`` age or sex that one is left out
      of ``volumes``, and there is no ``age_sex``. Missing values take the training mean. Only cohorts with volumes in the
      scans' own space take part in ``volumes``: it is fitted on their rows, and is NaN for the rows of a cohort without any.
    - ``voxel_ridge`` and ``voxel_svm``: see `voxel_baselines`; absent where ``images`` is None.

    ``samples``: scan_id, participant_id, cohort, target, age, sex. ``qc``: the cohorts' quality tables, for the volumes, which
    are n/a for scans in MNI space. ``fits``: those of `baseline_fits`; the first one's training rows include those of the
    others. ``classes``: of a classification, coded 0 to ``classes`` - 1. ``seed``: of the folds within the training rows.

    No row is predicted by a fit that it was in. With cross-validation the development rows are predicted out of fold, like the
    network's, so that thresholds and bias lines fitted on them are comparable; the tested parts are predicted by a fit on
    all development rows, which is a stronger baseline than the mean of the folds' fits. A baseline that can't be fitted in one
    fold is left out altogether.
    """
    values, people = samples["target"].to_numpy(dtype=float), samples["participant_id"].to_numpy()
    volumes = _volumes(samples, qc)
    # Of a cohort without volumes of its own, no row is fitted on and none is predicted.
    measured = volumes.groupby("cohort")["volume_brain_ml"].transform("count").to_numpy() > 0
    found = Baselines()
    for name, model in _models(_inputs(samples, volumes, target), values, kind, classes).items():
        usable = measured if name == "volumes" else np.ones(len(samples), dtype=bool)
        if fits[0].training.any() and not (fits[0].training & usable).any():
            found.left_out[name] = NO_VOLUMES
            continue
        fitted = [fit.training & usable for fit in fits]
        faults = (
            fit.about(_fault(name, people[rows], values[rows], kind)) for fit, rows in zip(fits, fitted, strict=True)
        )
        if fault := next(filter(None, faults), ""):
            found.left_out[name] = fault
            continue
        found.predictions[name] = joined(fits, [model(rows) for rows in fitted])
        found.predictions[name][~usable] = np.nan
    if images is not None:
        voxels, left_out = voxel_baselines(
            samples, images, fits=fits, classes=0 if kind == REGRESSION else classes, seed=seed
        )
        found.predictions.update(voxels)
        found.left_out.update(left_out)
    return found


def atlases(
    fits: Sequence[BaselineFit], label_maps: Callable[[np.ndarray], Iterable[np.ndarray]]
) -> dict[int, np.ndarray]:
    """By fold, the registered atlas of each fit: `atlas_labels` of its training rows' maps.

    ``label_maps``: the maps of the rows that it is given, (rows,) bool, one by one. Each map is read once for the first fit
    and once for its own fold: a fold's counts are those of the first fit less the maps that the fold leaves out. Raises
    ValueError where a fit has no training row.
    """
    if not all(fit.training.any() for fit in fits):
        raise ValueError("an atlas needs a label map at least")
    first = fits[0].training
    whole = _label_counts(label_maps(first))
    found = {}
    for fit in fits:
        left_out = first & ~fit.training
        counts = whole - _label_counts(label_maps(left_out)) if left_out.any() else whole
        found[fit.fold] = _most_frequent(counts)
    return found


def atlas_labels(label_maps: Iterable[np.ndarray]) -> np.ndarray:
    """The registered atlas: each voxel's most frequent label in the training part's maps, (X, Y, Z) uint8 each, taken one by
    one; of equally frequent labels the lowest. Raises ValueError where there is no map.
    """
    return _most_frequent(_label_counts(label_maps))


def _label_counts(label_maps: Iterable[np.ndarray]) -> np.ndarray:
    """How many of the maps have each label at each voxel, (labels, X, Y, Z) uint32."""
    counts = None
    for labels in label_maps:
        if counts is None:
            counts = np.zeros((len(TISSUES) + 1, *labels.shape), dtype=np.uint32)
        for label, count in enumerate(counts):
            count += labels == label
    if counts is None:
        raise ValueError("an atlas needs a label map at least")
    return counts


def _most_frequent(counts: np.ndarray) -> np.ndarray:
    return counts.argmax(axis=0).astype(np.uint8)


def _volumes(samples: pd.DataFrame, qc: pd.DataFrame) -> pd.DataFrame:
    """scan_id, cohort and volumes of each row of ``samples``; missing where the quality table has none."""
    own_volumes = qc.reindex(columns=["scan_id", "volume_brain_ml", *VOLUME_COLUMNS])
    return samples[["scan_id", "cohort"]].merge(own_volumes, on="scan_id", how="left", validate="1:1")


def _inputs(samples: pd.DataFrame, volumes: pd.DataFrame, target: str) -> dict[str, np.ndarray]:
    """By baseline, the columns that it is fitted on, (rows, columns)."""
    fair = [name for name in ("age", "sex") if name != target]
    covariates = samples.assign(sex=samples["sex"].map(SEX_NUMBERS))[fair].to_numpy(dtype=float)
    brain = volumes[["volume_brain_ml"]].to_numpy(dtype=float)
    fractions = volumes[VOLUME_COLUMNS].to_numpy(dtype=float) / brain
    inputs = {"age_sex": covariates} if len(fair) == 2 else {}
    return inputs | {"volumes": np.hstack([fractions, brain, covariates])}


def _models(inputs: dict[str, np.ndarray], values: np.ndarray, kind: str, classes: int) -> dict[str, Model]:
    if kind == REGRESSION:
        constant = {"mean": lambda training: np.full(len(values), values[training].mean())}
        return constant | {name: partial(_ridge, columns, values) for name, columns in inputs.items()}
    codes = values.astype(int)
    constant = {"majority": lambda training: _shares(codes[training], classes, len(codes))}
    return constant | {name: partial(_logistic, columns, codes, classes=classes) for name, columns in inputs.items()}


def _shares(codes: np.ndarray, classes: int, rows: int) -> np.ndarray:
    shares = np.bincount(codes, minlength=classes) / len(codes)
    return np.full(rows, shares[1]) if classes == 2 else np.tile(shares, (rows, 1))


def _fault(name: str, people: np.ndarray, values: np.ndarray, kind: str) -> str:
    """Why the baseline can't be fitted on these training rows, a sentence; empty where it can."""
    count, fewest = len(set(people)), 1 if name in CONSTANTS else FEWEST_PARTICIPANTS
    if count < fewest:
        return f"The training scans are of {count} participant(s); a fit needs {fewest}."
    if name not in CONSTANTS and kind == CLASSIFICATION and len(set(values)) < 2:
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
