"""The tables of predictions, of networks and of baselines alike: one row a scan, or one a scan and tissue."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from neurocohort.imaging.overlap import dice
from neurocohort.imaging.tissues import TISSUES
from neurocohort.learning.data import PackedImages

ID_COLUMNS = ["cohort", "part", "scan_id", "participant_id", "site", "age", "sex"]


def label_map(probabilities: np.ndarray) -> np.ndarray:
    """The most probable label of each voxel, (X, Y, Z) uint8, from (4, X, Y, Z); the smallest where two are equal."""
    return probabilities.argmax(axis=0).astype(np.uint8)


def reference_labels(samples: pd.DataFrame, packed: PackedImages) -> Iterator[np.ndarray]:
    """The reference label map of each row of ``samples`` in turn, (X, Y, Z) uint8."""
    return (packed.label_map(pack, row) for pack, row in packed.places(samples))


def value_rows(samples: pd.DataFrame, predictions: np.ndarray) -> pd.DataFrame:
    """The table of a regression or classification: identity, target and prediction, one row a scan.

    ``predictions``: values (N,), which become ``prediction``; probabilities (N, 2), whose second column does; or (N, K) of
    more classes: ``prediction`` is then the most probable class, with ``probability_0`` to ``probability_{K-1}`` beside it.
    """
    rows = samples[ID_COLUMNS].copy()
    rows["target"] = samples["target"].to_numpy()
    if predictions.ndim == 1 or predictions.shape[1] == 2:
        rows["prediction"] = np.round(predictions if predictions.ndim == 1 else predictions[:, 1], 6)
        return rows
    rows["prediction"] = predictions.argmax(axis=1)
    for number, probability in enumerate(predictions.T):
        rows[f"probability_{number}"] = np.round(probability, 6)
    return rows


def baseline_rows(samples: pd.DataFrame, predictions: dict[str, np.ndarray]) -> pd.DataFrame:
    """The table of a value task's baselines: ``model`` first, then the columns of `value_rows`.

    ``predictions``: by baseline, for every row of ``samples``. A baseline has no row where its prediction is NaN.
    """
    tables = []
    for name, values in predictions.items():
        known = np.isfinite(values.reshape(len(samples), -1)).all(axis=1)
        tables.append(value_rows(samples[known], values[known]).assign(model=name))
    rows = pd.concat(tables)
    rows.insert(0, "model", rows.pop("model"))
    return rows


def overlap_rows(
    samples: pd.DataFrame,
    predicted: Iterable[np.ndarray],
    reference: Iterable[np.ndarray],
    spacing_mm: float,
    surfaces: Callable[[np.ndarray, np.ndarray, list[float]], Sequence[object]] | None = None,
) -> pd.DataFrame:
    """The table of a segmentation: Dice and volumes on the study's grid (mL) by scan and tissue.

    ``predicted``, ``reference``: a label map (X, Y, Z) for each row of ``samples``, 1 CSF, 2 GM, 3 WM; two at a time are held.
    ``surfaces``: what else to measure of the two maps, given the three voxel sizes in mm, a record a tissue.
    """
    rows, voxel_ml = [], spacing_mm**3 / 1000
    for sample, found, true in zip(samples[ID_COLUMNS].to_dict("records"), predicted, reference, strict=True):
        more = [vars(one) for one in surfaces(found, true, [spacing_mm] * 3)] if surfaces else [{}] * len(TISSUES)
        for label, tissue in enumerate(TISSUES, start=1):
            own, own_true = found == label, true == label
            values = {
                "tissue": tissue.upper(),
                "dice": round(dice(own, own_true), 6),
                "volume_ml": round(int(own.sum()) * voxel_ml, 3),
                "reference_ml": round(int(own_true.sum()) * voxel_ml, 3),
            }
            rows.append(sample | values | more[label - 1])
    return pd.DataFrame(rows)
