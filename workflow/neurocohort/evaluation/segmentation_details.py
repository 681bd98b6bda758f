"""Secondary results of a segmentation: distances between surfaces, agreement of volumes, and empty predictions.

The surfaces are computed by MONAI. Where the reference was made by another program (FAST, in OASIS-1), the results are agreement
with that program, not accuracy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy import stats

from neurocohort.evaluation.intervals import CONFIDENCE, Bootstrap
from neurocohort.evaluation.lesions import LesionCounts, lesion_counts, lesion_estimates
from neurocohort.evaluation.measures import Measure, estimate, judged_parts, too_few
from neurocohort.evaluation.metrics import Metric, metric, weighted_mean
from neurocohort.evaluation.rows import DECIMALS, NAN, DetailRow, Estimate
from neurocohort.structures import TISSUES

TOLERANCE_MM = 1.0
PERCENTILE = 0.95
NEITHER, PREDICTION, REFERENCE, BOTH = "no", "prediction", "reference", "both"
LIMIT = float(stats.norm.ppf((1 + CONFIDENCE) / 2))  # 1.96 standard deviations
NAMED = 10  # scans in the note on empty predictions


@dataclass(frozen=True)
class SurfaceValues:
    """How the surfaces of a tissue agree in two label maps.

    Args:
        hd95_mm: The larger of the 95th percentiles of the distances from each surface to the other. Surfaces are the voxels of a
            tissue that have a neighbour outside of it.
        assd_mm: The mean of all these distances.
        surface_dice_1mm: The fraction of the area of both surfaces within 1 mm of the other one. These surfaces lie between
            voxels and are weighted by their area (Nikolov et al. 2021, Journal of Medical Internet Research 23, e26151).
        empty: ``prediction``, ``reference`` or ``both`` where the tissue has no voxel, else ``no``. The distances are then
            missing, and the surface Dice is 0 (missing for ``both``).
    """

    hd95_mm: float
    assd_mm: float
    surface_dice_1mm: float
    empty: str


def surface_values(
    predicted: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float], count: int = len(TISSUES)
) -> list[SurfaceValues]:
    """The agreement of the surfaces of each tissue or structure, label 1 first.

    Args:
        predicted: Label map (X, Y, Z).
        reference: Label map on the same grid.
        spacing_mm: The three voxel sizes.
        count: Number of structures.

    Raises:
        ValueError: If the shapes differ or a voxel size isn't above 0.
    """
    if predicted.shape != reference.shape or predicted.ndim != 3:
        raise ValueError(
            f"expected two label maps of one shape (X, Y, Z); found {predicted.shape} and {reference.shape}."
        )
    spacing = [float(size) for size in spacing_mm]
    if len(spacing) != 3 or min(spacing) <= 0:
        raise ValueError(f"expected three voxel sizes in mm, each above 0; found {list(spacing_mm)}.")
    return [_of_tissue(predicted == label, reference == label, spacing) for label in range(1, count + 1)]


def structure_values(
    predicted: np.ndarray,
    reference: np.ndarray,
    spacing_mm: Sequence[float],
    structures: Sequence[str],
    lesions: Sequence[str] = (),
) -> Sequence[object]:
    """`surface_values` of each of the ``structures``; with ``lesions``, some of their names, also `LesionCounts`."""
    values = surface_values(predicted, reference, spacing_mm, len(structures))
    if not lesions:
        return values
    counts = [
        lesion_counts(predicted == label, reference == label) if name in lesions else LesionCounts()
        for label, name in enumerate(structures, start=1)
    ]
    return [SimpleNamespace(**vars(value), **vars(count)) for value, count in zip(values, counts, strict=True)]


def segmentation_details(everything: pd.DataFrame, bootstrap: Bootstrap) -> list[DetailRow]:
    """Rows of details.tsv for every model of ``everything`` (`with_baselines`), by tissue.

    - setting ``volumes``: volume_bias_ml (mean of predicted minus reference volume), volume_lower_ml and volume_upper_ml (limits
      of agreement, the mean -/+ 1.96 standard deviations of the differences; Bland and Altman 1986, Lancet 327, 307-310).
    - setting ``empty``: empty_predictions, the number of scans whose prediction lacks a tissue that their reference has;
      ``n`` are the participants of all scans; no interval.

    For structures other than the tissues also volume_error_ml (mean absolute difference), and with the setting ``absent`` numbers
    of scans: with_structure and without_structure in the reference, and found_where_absent of the latter. With the setting
    ``lesions`` those of `lesion_estimates`.

    Parts of fewer than three participants have no rows.
    """
    rows: list[DetailRow] = []
    own_structures = not set(everything["tissue"]) <= set(TISSUES)
    for part in judged_parts(everything):
        for tissue, chosen in part.table.groupby("tissue", sort=True):
            if too_few(chosen):
                continue
            group = f"tissue={tissue}"
            compared = int(chosen[["volume_ml", "reference_ml"]].notna().all(axis=1).sum())
            note = f"Limits of agreement of {compared} scans."
            rows += part.details(group, "volumes", note, volume_agreement(chosen, bootstrap))
            if own_structures:
                rows += part.details(group, "volumes", "", [_volume_error(chosen, bootstrap)])
                rows += part.details(group, "absent", "", _presence(chosen))
                rows += part.details(group, "lesions", "", lesion_estimates(chosen, bootstrap))
            empty = _empty_predictions(chosen)
            count = Estimate("empty_predictions", float(empty.sum()), n=chosen["participant_id"].nunique())
            named = ", ".join(sorted(chosen.loc[empty, "scan_id"].astype(str))[:NAMED])
            rows += part.details(group, "empty", f"Empty: {named}." if named else "", [count])
    return rows


def volume_agreement(table: pd.DataFrame, bootstrap: Bootstrap) -> list[Estimate]:
    """volume_bias_ml, volume_lower_ml and volume_upper_ml of one structure; ``n`` are participants with both volumes."""
    predicted, reference = (table[name].to_numpy(dtype=float) for name in ("volume_ml", "reference_ml"))
    people = table["participant_id"].to_numpy()
    deviations = {"volume_bias_ml": 0.0, "volume_lower_ml": -LIMIT, "volume_upper_ml": LIMIT}
    return [
        estimate(name, Measure(_limit(count), reference, predicted, people, skips_missing=True), bootstrap)
        for name, count in deviations.items()
    ]


def _volume_error(table: pd.DataFrame, bootstrap: Bootstrap) -> Estimate:
    """The mean absolute difference of predicted and reference volume."""
    predicted, reference = (table[name].to_numpy(dtype=float) for name in ("volume_ml", "reference_ml"))
    people = table["participant_id"].to_numpy()
    measure = Measure(_absolute_difference, reference, predicted, people, skips_missing=True)
    return estimate("volume_error_ml", measure, bootstrap)


@metric
def _absolute_difference(reference: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weighted_mean(np.abs(predicted - reference), weights)


def _presence(table: pd.DataFrame) -> list[Estimate]:
    """How many scans have the structure in their reference, how many don't, and in how many of these it was found."""
    absent, found = table["reference_ml"] == 0, table["volume_ml"] > 0
    if "empty" in table:  # a volume of one small voxel is rounded to 0
        absent, found = table["empty"].isin([REFERENCE, BOTH]), table["empty"].isin([NEITHER, REFERENCE])
    chosen = {"with_structure": ~absent, "without_structure": absent, "found_where_absent": absent & found}
    people = table["participant_id"].nunique()
    return [Estimate(name, float(scans.sum()), n=people) for name, scans in chosen.items()]


def _limit(deviations: float) -> Metric:
    """The mean difference plus a number of standard deviations (n - 1), as a metric of reference and predicted volume."""

    @metric
    def limit(reference: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
        difference = predicted - reference
        mean = weighted_mean(difference, weights)
        squares = (weights * (difference - mean[:, None]) ** 2).sum(axis=-1)
        return mean + deviations * np.sqrt(squares / np.maximum(weights.sum(axis=-1) - 1, 1))

    return limit


def _empty_predictions(table: pd.DataFrame) -> pd.Series:
    if "empty" in table:
        return table["empty"] == PREDICTION
    return (table["volume_ml"] == 0) & (table["reference_ml"] > 0)


def _of_tissue(predicted: np.ndarray, reference: np.ndarray, spacing: list[float]) -> SurfaceValues:
    if not predicted.any() and not reference.any():
        return SurfaceValues(NAN, NAN, NAN, BOTH)
    if not predicted.any() or not reference.any():
        return SurfaceValues(NAN, NAN, 0.0, REFERENCE if predicted.any() else PREDICTION)
    # PyTorch and MONAI are slow to import: only where there are surfaces to measure.
    import torch
    from monai.metrics import compute_surface_dice
    from monai.metrics.utils import get_edge_surface_distance

    found, true = (torch.from_numpy(np.ascontiguousarray(mask)) for mask in _around(predicted, reference))
    # Once for both distances: each of MONAI's two functions would search for nearest neighbours, which takes most of the time.
    _, distances, _ = get_edge_surface_distance(found, true, spacing=spacing, symmetric=True)
    within = compute_surface_dice(
        found[None, None].float(),
        true[None, None].float(),
        [TOLERANCE_MM],
        include_background=True,
        spacing=spacing,
        use_subvoxels=True,  # else it counts voxels, and an oblique surface weighs less than a straight one
    )
    hd95 = max(float(np.quantile(distance.numpy(), PERCENTILE)) for distance in distances)
    assd = float(torch.cat(tuple(distances)).double().mean())
    return SurfaceValues(round(hd95, DECIMALS), round(assd, DECIMALS), round(float(within), DECIMALS), NEITHER)


def _around(*masks: np.ndarray) -> list[np.ndarray]:
    """The masks, cropped to their common bounding box and padded with one empty voxel."""
    together = np.nonzero(np.any(masks, axis=0))
    box = tuple(slice(index.min(), index.max() + 1) for index in together)
    return [np.pad(mask[box], 1) for mask in masks]
