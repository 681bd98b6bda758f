"""What `site_prediction` predicts the site from, by scan: inputs of the baselines (volumes, components of tissue maps), and the
features of a network."""

import numpy as np
import pandas as pd

from neurocohort.dataset.folds import FOLDED_PARTS
from neurocohort.evaluation.baselines import volume_inputs
from neurocohort.evaluation.tissue_baselines import TISSUE_MODELS, centred_products

VOLUMES = "volumes"
INPUTS = (VOLUMES, *TISSUE_MODELS)  # models whose inputs have columns
COMPONENTS = 10
KEY = ["cohort", "scan_id"]
NETWORK = "network"  # its features are columns like the inputs of a baseline


def baseline_inputs(samples: pd.DataFrame, qc: pd.DataFrame | None, tissues: dict[str, np.ndarray]) -> pd.DataFrame:
    """The table of inputs: cohort, scan_id, and columns ``input:<model>:<number>``.

    Those of ``volumes`` are the fractions of CSF, GM and WM and the brain's volume; missing for scans in MNI space. Those of
    a model of tissue maps are their `leading_components`.

    Args:
        samples: The experiment's samples.
        qc: Quality tables of the cohorts; without it there are no volumes.
        tissues: By model, its smoothed maps, (rows of ``samples``, voxels).
    """
    values: dict[str, np.ndarray] = {}
    if qc is not None:
        values[VOLUMES] = volume_inputs(samples, qc)
    fitted = samples["part"].isin(FOLDED_PARTS).to_numpy()
    own_maps = {model: features for model, features in tissues.items() if model in TISSUE_MODELS}
    values |= {model: leading_components(features, fitted, COMPONENTS) for model, features in own_maps.items()}
    return _table(samples, values)


def feature_inputs(scans: pd.DataFrame, features: np.ndarray) -> pd.DataFrame:
    """The table of a network's features: cohort, scan_id, and columns ``input:network:<number>``.

    Args:
        scans: cohort and scan_id of the scans, each once.
        features: (rows of ``scans``, features).
    """
    return _table(scans, {NETWORK: features})


def with_inputs(samples: pd.DataFrame, inputs: pd.DataFrame) -> pd.DataFrame:
    """The samples with the columns of `baseline_inputs` or `feature_inputs`; NaN for scans that ``inputs`` doesn't have."""
    return samples.merge(inputs, on=KEY, how="left", validate="1:1")


def of_scans(model: str, table: pd.DataFrame, samples: pd.DataFrame) -> np.ndarray | None:
    """The inputs of a baseline, or the features of ``network``, for the scans of ``table``, (rows, columns); None if ``samples``
    doesn't have them."""
    names = [name for name in samples if name.startswith(_prefix(model))]
    if not names:
        return None
    found = table[KEY].merge(samples[[*KEY, *names]], on=KEY, how="left", validate="m:1")
    return found[names].to_numpy(dtype=float)


def leading_components(features: np.ndarray, fitted: np.ndarray, count: int) -> np.ndarray:
    """The leading principal components of all rows, (rows, at most ``count``).

    Args:
        features: (rows, voxels) uint8.
        fitted: The rows from which they are computed, (rows,) bool.
        count: How many; fewer if the fitted rows have fewer.
    """
    products, _ = centred_products(features, fitted)
    variances, directions = np.linalg.eigh(products[fitted])
    largest = np.argsort(variances)[::-1][:count]
    largest = largest[variances[largest] > variances.max(initial=0) * 1e-9]
    found: np.ndarray = products @ directions[:, largest] / np.sqrt(variances[largest])
    return found


def _table(scans: pd.DataFrame, values: dict[str, np.ndarray]) -> pd.DataFrame:
    """The columns KEY of ``scans``, and those of each model's values, (rows, columns)."""
    columns = {
        f"{_prefix(model)}{number}": column
        for model, own in values.items()
        for number, column in enumerate(own.T, start=1)
    }
    return pd.concat([scans[KEY].reset_index(drop=True), pd.DataFrame(columns)], axis=1)


def _prefix(model: str) -> str:
    return f"input:{model}:"
