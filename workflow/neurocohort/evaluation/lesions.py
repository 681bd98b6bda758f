"""Detection of single lesions: connected parts of a structure in the reference, and those of the predicted label map."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage

from neurocohort.evaluation.intervals import Bootstrap
from neurocohort.evaluation.measures import Measure, estimate
from neurocohort.evaluation.metrics import metric, weighted_mean
from neurocohort.evaluation.rows import NAN, Estimate

CONNECTED = np.ones((3, 3, 3))  # voxels that share a face, an edge or a corner


@dataclass(frozen=True)
class LesionCounts:
    """The lesions of a scan.

    Args:
        lesions: Number in the reference.
        lesions_found: Of these, the number that the prediction overlaps by at least a voxel.
        lesions_false: Number of predicted lesions that overlap none of the reference.
    """

    lesions: float = NAN
    lesions_found: float = NAN
    lesions_false: float = NAN


def lesion_counts(predicted: np.ndarray, reference: np.ndarray) -> LesionCounts:
    """Count the lesions of two masks (X, Y, Z), bool; the parts of a lesion are connected by faces, edges or corners."""
    true, count = ndimage.label(reference, CONNECTED)
    found, predicted_count = ndimage.label(predicted, CONNECTED)
    both = predicted & reference
    detected, matched = (np.unique(parts[both]).size for parts in (true, found))
    return LesionCounts(count, detected, predicted_count - matched)


def lesion_estimates(table: pd.DataFrame, bootstrap: Bootstrap) -> list[Estimate]:
    """lesion_sensitivity, of all lesions together, and false_lesions, the mean number in a scan; none without lesions.

    Args:
        table: Rows of one structure, one a scan.
        bootstrap: Number of resamples and seed.
    """
    if "lesions" not in table or table["lesions"].isna().all():
        return []
    lesions, found, false = (table[name].to_numpy(dtype=float) for name in vars(LesionCounts()))
    people = table["participant_id"].to_numpy()
    measures = {
        "lesion_sensitivity": Measure(_sensitivity, lesions, found, people, skips_missing=True),
        "false_lesions": Measure(_mean, false, false, people, skips_missing=True),
    }
    return [estimate(name, measure, bootstrap) for name, measure in measures.items()]


@metric
def _sensitivity(lesions: np.ndarray, found: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lesions that were found, divided by all lesions; NaN without lesions."""
    whole = (weights * lesions).sum(axis=-1)
    return np.divide((weights * found).sum(axis=-1), whole, out=np.full(whole.shape, np.nan), where=whole > 0)


@metric
def _mean(_: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weighted_mean(values, weights)
