"""What a network must beat: models that see no voxels, or no scan at all, fitted on the training part alone."""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neurocohort.imaging.tissues import TISSUES

RIDGE_STRENGTHS = np.logspace(-2, 3, 11)
VOLUME_COLUMNS = [f"volume_{tissue}_ml" for tissue in TISSUES]


def value_baselines(samples: pd.DataFrame, qc: pd.DataFrame, kind: str) -> dict[str, np.ndarray]:
    """Predictions for every row of ``samples`` by baseline: (rows,) values or probabilities.

    Regression: ``mean`` of the training targets; ``volumes``, ridge regression on CSF, GM and WM shares, brain volume and
    sex. Classification: ``majority`` (the training part's share of cases for everybody); ``age_sex`` and ``volumes`` (with age
    and sex), logistic regression. ``qc``: the cohorts' quality tables, for the volumes.
    """
    table = samples.merge(qc[["scan_id", "volume_brain_ml", *VOLUME_COLUMNS]], on="scan_id", how="left", validate="1:1")
    training = (table["part"] == "train").to_numpy()
    target = table["target"].to_numpy(dtype=float)
    shares = table[VOLUME_COLUMNS].to_numpy() / table[["volume_brain_ml"]].to_numpy()
    male = (table["sex"] == "M").to_numpy(dtype=float)[:, None]
    volumes = np.hstack([shares, table[["volume_brain_ml"]].to_numpy(), male])
    constant = np.full(len(table), target[training].mean())
    if kind == "regression":
        ridge = make_pipeline(StandardScaler(), RidgeCV(RIDGE_STRENGTHS))
        return {"mean": constant, "volumes": ridge.fit(volumes[training], target[training]).predict(volumes)}
    age = table["age"].fillna(table.loc[training, "age"].mean()).to_numpy()[:, None]
    predictions = {"majority": constant}
    for name, columns in (("age_sex", np.hstack([age, male])), ("volumes", np.hstack([volumes, age]))):
        logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        logistic.fit(columns[training], target[training].astype(int))
        predictions[name] = logistic.predict_proba(columns)[:, 1]
    return predictions


def atlas_labels(training_labels: np.ndarray) -> np.ndarray:
    """The registered atlas: each voxel's most frequent label in the training part, (X, Y, Z) uint8 from (N, X, Y, Z)."""
    counts = np.stack([(training_labels == label).sum(axis=0) for label in range(int(training_labels.max()) + 1)])
    return counts.argmax(axis=0).astype(np.uint8)
