"""The inputs of a longitudinal analysis: the columns of each session, the same for the networks and their baselines."""

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from neurocohort.dataset.folds import TRAIN
from neurocohort.dataset.targets import SEX_CLASSES
from neurocohort.errors import InputError
from neurocohort.evaluation.baselines import volume_inputs
from neurocohort.settings.longitudinal import Longitudinal

VOLUMES = ("volume_csf_fraction", "volume_gm_fraction", "volume_wm_fraction", "volume_brain_ml")
TIMES = ("years", "gap_years")
FEATURE = "feature_{}"


def session_inputs(
    sessions: pd.DataFrame, qc: pd.DataFrame, features: np.ndarray | None, wanted: Longitudinal
) -> tuple[pd.DataFrame, list[str]]:
    """The inputs of each session, NaN where one is missing, and notes on columns with missing values.

    Nothing of the validation and held-out parts enters what is fitted, the principal components of the features.

    Args:
        sessions: The table of `select_sessions`.
        qc: Quality tables of the cohorts, with cohort, for the volumes.
        features: The features of a network for each session, (sessions, features), NaN where it has none.
        wanted: The settings.

    Raises:
        InputError: If all training sessions lack a variable, the volumes or the features.
    """
    training = (sessions["part"] == TRAIN).to_numpy()
    columns = {name: sessions[name].to_numpy(dtype=float) for name in TIMES}
    for name in wanted.variables:
        values = sessions[name].map(SEX_CLASSES) if name == "sex" else sessions[name]
        columns[name] = values.to_numpy(dtype=float)
    if wanted.volumes:
        columns |= dict(zip(VOLUMES, volume_inputs(sessions, qc).T, strict=True))
    if features is not None:
        components = principal_components(features, training, wanted.components)
        columns |= {FEATURE.format(number): values for number, values in enumerate(components.T, start=1)}
    table, notes = pd.DataFrame(columns), []
    for name, values in table.items():
        if not np.isfinite(values[training]).any():
            raise InputError(
                f"no training session of the longitudinal analysis has a value of `{name}`; expected some. Leave it out of "
                "`variables`, or, for scans in MNI space or in native space, which have no volumes, write `volumes: false`."
            )
        if count := int(values.isna().sum()):
            notes.append(
                f"{count} of {len(table)} sessions have no value of {name}; the mean of the training part is used."
            )
    return table, notes


def principal_components(features: np.ndarray, training: np.ndarray, count: int) -> np.ndarray:
    """The leading principal components of standardised features, (sessions, at most ``count``); NaN rows stay NaN.

    Scales and directions are fitted on the ``training`` rows, (sessions,) bool. Raises InputError where fewer than two of these
    have features.
    """
    known = np.isfinite(features).all(axis=1)
    fitted = training & known
    if fitted.sum() < 2:
        raise InputError(
            f"{fitted.sum()} training sessions of the longitudinal analysis have features; expected 2 or more. Name an "
            "experiment under `features` that has the same cohorts, and whose `filter` keeps these sessions."
        )
    scaler = StandardScaler().fit(features[fitted].astype(float))
    scaled = scaler.transform(np.where(known[:, None], features, 0.0).astype(float))
    model = PCA(min(count, int(fitted.sum()) - 1, features.shape[1]), svd_solver="full").fit(scaled[fitted])
    found: np.ndarray = np.where(known[:, None], model.transform(scaled), np.nan)
    return found
