"""A segmentation beyond Dice: distances between surfaces, the agreement of volumes, and predictions that are empty.

The surfaces are MONAI's. The reference is what it was made with: where that is another program (FAST, in OASIS-1), all of this
is agreement with the program, not accuracy.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from neurocohort.evaluation.intervals import CONFIDENCE
from neurocohort.evaluation.measures import SMALLEST_GROUP, Measure, estimate, judged_parts, result
from neurocohort.evaluation.metrics import Metric, weighted_mean
from neurocohort.imaging.tissues import TISSUES

SURFACE_COLUMNS = ["hd95_mm", "assd_mm", "surface_dice_1mm", "empty"]
TOLERANCE_MM = 1.0
PERCENTILE = 0.95
DECIMALS = 6
NEITHER, PREDICTION, REFERENCE, BOTH = "no", "prediction", "reference", "both"
LIMIT = float(stats.norm.ppf((1 + CONFIDENCE) / 2))  # 1.96 standard deviations


def surface_values(predicted: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float]) -> list[dict]:
    """What to add to a scan's row of each tissue, CSF, GM, WM: tissue, hd95_mm, assd_mm, surface_dice_1mm, empty.

    ``predicted``, ``reference``: label maps (X, Y, Z) of one grid, 1 CSF, 2 GM, 3 WM; ``spacing_mm``: its three voxel sizes.

    - ``hd95_mm``: the larger of the 95th percentiles of the distances from either surface to the other; ``assd_mm``: the mean of
      all of them. Surfaces are the voxels of a tissue that touch others.
    - ``surface_dice_1mm``: the share of both surfaces' area within 1 mm of the other, surfaces lying between voxels and weighing
      by their area (Nikolov et al. 2021, Journal of Medical Internet Research 23, e26151).
    - ``empty``: ``prediction``, ``reference`` or ``both`` where a tissue has no voxel there; its distances are then not defined
      and missing, and the surface Dice is 0 (missing for ``both``). Else ``no``.

    Raises ValueError where the shapes differ or a spacing isn't above 0.
    """
    if predicted.shape != reference.shape or predicted.ndim != 3:
        raise ValueError(
            f"expected two label maps of one shape (X, Y, Z); found {predicted.shape} and {reference.shape}."
        )
    spacing = [float(size) for size in spacing_mm]
    if len(spacing) != 3 or min(spacing) <= 0:
        raise ValueError(f"expected three voxel sizes in mm, each above 0; found {list(spacing_mm)}.")
    return [
        {"tissue": tissue.upper()} | _of_tissue(predicted == label, reference == label, spacing)
        for label, tissue in enumerate(TISSUES, start=1)
    ]


def segmentation_details(everything: pd.DataFrame, *, resamples: int, seed: int) -> list[dict]:
    """Rows of details.tsv (`details`) for every model of ``everything`` (`with_baselines`), by tissue.

    - setting ``volumes``: volume_bias_ml (mean of predicted minus reference volume), volume_lower_ml and volume_upper_ml (the
      limits of agreement, 1.96 standard deviations of the differences to either side; Bland and Altman 1986, Lancet 327,
      307-310), each with its interval from resampling participants.
    - setting ``empty``: empty_predictions, how many scans' predictions lack the tissue that their reference has, of the scans
      of ``n`` participants; no interval. From the column ``empty`` of `surface_values`, or where there is none from the volumes.

    Distances and Dice are among the metrics of `evaluate`. Parts of fewer than three participants have no rows.
    """
    rows = []
    for about, table in judged_parts(everything):
        for tissue, chosen in table.groupby("tissue", sort=True):
            people = chosen["participant_id"].to_numpy()
            if len(np.unique(people)) < SMALLEST_GROUP:
                continue
            of_tissue = about | {"group": f"tissue={tissue}"}
            compared = int(chosen[["volume_ml", "reference_ml"]].notna().all(axis=1).sum())
            note = f"Limits of agreement of {compared} scans."
            rows += [
                of_tissue | {"setting": "volumes", "note": note} | figure
                for figure in volume_agreement(chosen, resamples=resamples, seed=seed)
            ]
            empty = _empty_predictions(chosen)
            figure = result("empty_predictions", int(empty.sum()), (np.nan, np.nan), "none", len(set(people)))
            named = ", ".join(sorted(chosen.loc[empty, "scan_id"].astype(str))[:10])
            rows.append(of_tissue | {"setting": "empty", "note": f"Empty: {named}." if named else ""} | figure)
    return rows


def volume_agreement(table: pd.DataFrame, *, resamples: int, seed: int) -> list[dict]:
    """volume_bias_ml, volume_lower_ml and volume_upper_ml of one tissue's rows: metric, value, ci_low, ci_high, interval, n
    (participants with both volumes).
    """
    predicted, reference = (table[name].to_numpy(dtype=float) for name in ("volume_ml", "reference_ml"))
    usable, people = np.isfinite(predicted) & np.isfinite(reference), table["participant_id"].to_numpy()
    return [
        estimate(
            name, Measure(_limit(deviations), reference, predicted, usable), people, resamples=resamples, seed=seed
        )
        for name, deviations in (
            ("volume_bias_ml", 0.0),
            ("volume_lower_ml", -LIMIT),
            ("volume_upper_ml", LIMIT),
        )
    ]


def _limit(deviations: float) -> Metric:
    """The mean difference and so many standard deviations (n - 1) more, as a metric of reference and predicted volume."""

    def metric(reference: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
        difference = predicted - reference
        drawn = np.ones((1, len(difference))) if weights is None else weights
        mean = weighted_mean(difference, drawn)
        squares = (drawn * (difference - mean[:, None]) ** 2).sum(axis=-1)
        limit = mean + deviations * np.sqrt(squares / np.maximum(drawn.sum(axis=-1) - 1, 1))
        return float(limit[0]) if weights is None else limit

    return metric


def _empty_predictions(table: pd.DataFrame) -> pd.Series:
    if "empty" in table:
        return table["empty"] == PREDICTION
    return (table["volume_ml"] == 0) & (table["reference_ml"] > 0)


def _of_tissue(predicted: np.ndarray, reference: np.ndarray, spacing: list[float]) -> dict:
    missing = {"hd95_mm": float("nan"), "assd_mm": float("nan")}
    if not predicted.any() and not reference.any():
        return missing | {"surface_dice_1mm": float("nan"), "empty": BOTH}
    if not predicted.any() or not reference.any():
        return missing | {"surface_dice_1mm": 0.0, "empty": REFERENCE if predicted.any() else PREDICTION}
    # PyTorch and MONAI are slow to import: only where there are surfaces to measure.
    import torch
    from monai.metrics import compute_surface_dice
    from monai.metrics.utils import get_edge_surface_distance

    found, true = (torch.from_numpy(np.ascontiguousarray(mask)) for mask in _around(predicted, reference))
    # Once for both distances: MONAI's two functions would each search for the nearest neighbours, which is most of the time.
    _, distances, _ = get_edge_surface_distance(found, true, spacing=spacing, symmetric=True)
    within = compute_surface_dice(
        found[None, None].float(),
        true[None, None].float(),
        [TOLERANCE_MM],
        include_background=True,
        spacing=spacing,
        use_subvoxels=True,  # else it counts voxels, and an oblique surface weighs less than a straight one
    )
    percentiles = [float(np.quantile(distance.numpy(), PERCENTILE)) for distance in distances]
    return {
        "hd95_mm": round(max(percentiles), DECIMALS),
        "assd_mm": round(float(torch.cat(tuple(distances)).double().mean()), DECIMALS),
        "surface_dice_1mm": round(float(within), DECIMALS),
        "empty": NEITHER,
    }


def _around(*masks: np.ndarray) -> list[np.ndarray]:
    """The masks cut to the box that holds them all, with a voxel around it that none of them has."""
    together = np.any(masks, axis=0)
    sides = [
        np.flatnonzero(together.any(axis=tuple(set(range(together.ndim)) - {axis}))) for axis in range(together.ndim)
    ]
    box = tuple(slice(side[0], side[-1] + 1) for side in sides)
    return [np.pad(mask[box], 1) for mask in masks]
