"""The tables of predictions of networks and baselines: one row for each scan, or for each scan and tissue."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from neurocohort.imaging.overlap import dice
from neurocohort.learning.data import PackedImages
from neurocohort.structures import TISSUES

ID_COLUMNS = ["cohort", "part", "scan_id", "participant_id", "site", "age", "sex"]
TEST_FOLD = "test_fold"  # with test folds: that of the networks; missing in external rows


def id_columns(samples: pd.DataFrame) -> list[str]:
    """ID_COLUMNS, and with test folds also test_fold."""
    return [*ID_COLUMNS, TEST_FOLD] if TEST_FOLD in samples else ID_COLUMNS


def label_map(probabilities: np.ndarray) -> np.ndarray:
    """The most probable label of each voxel, (X, Y, Z) uint8, from (labels, X, Y, Z); the smallest label of a tie."""
    return probabilities.argmax(axis=0).astype(np.uint8)


def reference_labels(samples: pd.DataFrame, packed: PackedImages) -> Iterator[np.ndarray]:
    """Yield the reference label map of each row of ``samples``, (X, Y, Z) uint8."""
    return (packed.label_map(pack, row) for pack, row in packed.places(samples))


def value_rows(samples: pd.DataFrame, predictions: np.ndarray) -> pd.DataFrame:
    """The table of a regression or classification: `id_columns`, target and prediction, one row for each scan.

    ``predictions`` are values (N,), probabilities (N, 2), of which the second column is used, or probabilities (N, K) of more
    classes: then ``prediction`` is the most probable class, followed by ``probability_0`` to ``probability_{K-1}``.
    """
    rows = samples[id_columns(samples)].copy()
    rows["target"] = samples["target"].to_numpy()
    if predictions.ndim == 1 or predictions.shape[1] == 2:
        rows["prediction"] = np.round(predictions if predictions.ndim == 1 else predictions[:, 1], 6)
        return rows
    rows["prediction"] = predictions.argmax(axis=1)
    for number, probability in enumerate(predictions.T):
        rows[f"probability_{number}"] = np.round(probability, 6)
    return rows


def applied_rows(samples: pd.DataFrame, predictions: np.ndarray) -> pd.DataFrame:
    """The table of scans that only get predictions: that of `value_rows` for all networks alike, with ``reason``."""
    return value_rows(samples.drop(columns=TEST_FOLD, errors="ignore"), predictions).assign(
        reason=samples["reason"].to_numpy()
    )


def baseline_rows(samples: pd.DataFrame, predictions: dict[str, np.ndarray]) -> pd.DataFrame:
    """The table of the baselines of a regression or classification: ``model``, then the columns of `value_rows`.

    ``predictions`` of each baseline are for all rows of ``samples``; a baseline has no row where its prediction is NaN.
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
    structures: Sequence[str] = TISSUES,
) -> pd.DataFrame:
    """The table of a segmentation: Dice and volumes on the study's grid (mL) by scan and tissue, or structure.

    Dice is missing where neither map has the structure.

    Args:
        samples: Rows of samples.tsv.
        predicted: A label map (X, Y, Z) for each row. Maps are read one by one.
        reference: Likewise.
        spacing_mm: Voxel size.
        surfaces: Computes more columns, such as `surface_values`: from both maps and the three voxel sizes, an object for
            each structure, whose attributes are the columns.
        structures: Their names, label 1 first.
    """
    rows, voxel_ml = [], spacing_mm**3 / 1000
    for sample, found, true in zip(samples[id_columns(samples)].to_dict("records"), predicted, reference, strict=True):
        more: list[dict[str, object]] = [{}] * len(structures)
        if surfaces:
            more = [vars(one) for one in surfaces(found, true, [spacing_mm] * 3)]
        for label, structure in enumerate(structures, start=1):
            own, own_true = found == label, true == label
            values = {
                "tissue": structure,
                "dice": round(dice(own, own_true), 6) if own.any() or own_true.any() else np.nan,
                "volume_ml": round(int(own.sum()) * voxel_ml, 3),
                "reference_ml": round(int(own_true.sum()) * voxel_ml, 3),
            }
            rows.append(sample | values | more[label - 1])
    return pd.DataFrame(rows)
