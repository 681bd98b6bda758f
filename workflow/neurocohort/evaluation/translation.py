"""translation.tsv: how close predicted images are to the true ones inside the brain, next to baselines without a network.

Intensities are the preprocessed ones, from 0 to 1, so that the dynamic range of PSNR and SSIM is 1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neurocohort.evaluation.intervals import Bootstrap, participant_interval
from neurocohort.evaluation.metrics import HIGHER_IS_BETTER
from neurocohort.evaluation.rows import Estimate, TranslationRow, table_of

if TYPE_CHECKING:
    from torch import Tensor

DYNAMIC_RANGE = 1.0
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # voxels; as published (Wang et al. 2004)
METRICS = ("psnr", "ssim", "mae")
NETWORK = "network"
KEY = ["cohort", "part", "scan_id", "participant_id"]


@dataclass(frozen=True)
class ImageScores:
    """How close an image is to the true one: PSNR in dB, SSIM, and the mean absolute error in intensities from 0 to 1."""

    psnr: float
    ssim: float
    mae: float


def image_scores(found: np.ndarray, true: np.ndarray, inside: np.ndarray) -> ImageScores:
    """Compare two images inside the brain. PSNR and MAE are computed from its voxels alone.

    SSIM is MONAI's map with a Gaussian window over the whole grid, of images that are 0 outside the brain; its mean
    is that of the brain's voxels. Near the border a window includes the outside, where the two images agree.

    Args:
        found: (X, Y, Z), intensities from 0 to 1.
        true: The same shape.
        inside: Voxels of the brain, bool, the same shape; at least one.
    """
    from monai.metrics import PSNRMetric  # MONAI is slow to import: only where it is used

    ours, theirs = (np.where(inside, image, 0).astype(np.float32) for image in (found, true))
    pair = [_tensor(image[inside]) for image in (ours, theirs)]
    mae = float(np.abs(ours[inside].astype(np.float64) - theirs[inside]).mean())
    psnr = float(np.asarray(PSNRMetric(max_val=DYNAMIC_RANGE)(*pair)).item()) if mae else float("inf")
    return ImageScores(psnr, float(_ssim_map(ours, theirs)[inside].mean(dtype=np.float64)), mae)


def translation_table(scores: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """translation.tsv: model, cohort, part, metric, value, ci_low, ci_high, interval, n, and of each baseline the
    difference of the network to it with a paired interval, and ``best``.

    A participant with several scans counts once: their scans are drawn together. ``best`` is ``yes`` for the baseline with the
    best value of the metric, chosen on the rows on which it is compared, which favours the baseline.

    Args:
        scores: One row for each model and scan: model, KEY and the METRICS; each model has the same scans.
        bootstrap: Number of resamples and seed.
    """
    rows: list[TranslationRow] = []
    for (cohort, part), chosen in scores.groupby(["cohort", "part"], sort=True):
        tables = {name: one.sort_values(KEY) for name, one in chosen.groupby("model", sort=False)}
        for metric in METRICS:
            rows += _rows(tables, metric, (str(cohort), str(part)), bootstrap)
    return table_of(rows, TranslationRow)


def _rows(
    tables: dict[str, pd.DataFrame], metric: str, place: tuple[str, str], bootstrap: Bootstrap
) -> Iterator[TranslationRow]:
    network = tables[NETWORK]
    people, values = network["participant_id"].to_numpy(), {name: t[metric].to_numpy() for name, t in tables.items()}
    means = {name: float(one.mean()) for name, one in values.items()}
    others = [name for name in tables if name != NETWORK]
    best = (max if HIGHER_IS_BETTER[metric] else min)(others, key=lambda name: means[name])
    for name, own in values.items():
        low, high, kind = participant_interval(_mean_of(own), people, bootstrap)
        estimate = Estimate(metric, means[name], low, high, kind, len(set(people)))
        if name == NETWORK:
            yield TranslationRow(name, *place, estimate)
            continue
        change = values[NETWORK] - own
        limits = participant_interval(_mean_of(change), people, bootstrap)
        yield TranslationRow(
            name, *place, estimate, float(change.mean()), limits.low, limits.high, "yes" if name == best else "no"
        )


def _mean_of(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda weights: (weights * values).sum(axis=-1) / weights.sum(axis=-1)


def _ssim_map(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The SSIM of each voxel, the shape of the images; outside the grid both are 0."""
    from monai.metrics.regression import compute_ssim_and_cs

    margin = SSIM_WINDOW // 2
    padded = [_tensor(np.pad(image, margin)[None]) for image in (found, true)]
    size, sigma = [SSIM_WINDOW] * 3, [SSIM_SIGMA] * 3
    values, _ = compute_ssim_and_cs(padded[0], padded[1], 3, size, sigma, DYNAMIC_RANGE)
    return values[0, 0].numpy()


def _tensor(image: np.ndarray) -> "Tensor":
    import torch

    return torch.from_numpy(np.ascontiguousarray(image))[None]
