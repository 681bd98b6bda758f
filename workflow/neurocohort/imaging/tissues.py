"""Volumes of CSF, grey and white matter by a light tissue model, for the baselines and the quality numbers.

One Gaussian a tissue over the intensities inside the brain mask, with the template's tissue shares as the prior of each
voxel, fitted by expectation-maximisation: the core of Ashburner and Friston's unified segmentation (2005), without its
deformation and its bias field, which other steps see to.
"""

import numpy as np

from neurocohort.imaging.volume import Volume

TISSUES = ("csf", "gm", "wm")
FITTED_VOXELS = 30_000  # more change the means by less than a percent
STEPS = np.sqrt([2.0, 3.0, 5.0])  # irrational: multiples of each fall evenly between whole numbers
ITERATIONS = 30
SMALLEST_PRIOR = 0.02  # an atlas voxel never rules a tissue out: the scan's own anatomy may lie elsewhere
SMALLEST_SD = 0.02  # of the intensity range


def segment_tissues(brain: Volume, mask: np.ndarray, priors: np.ndarray, *, seed: int) -> np.ndarray:
    """Posterior shares of CSF, GM and WM, (3, X, Y, Z) float32, which sum to 1 inside ``mask`` and are 0 outside.

    ``brain``: bias-corrected T1-weighted intensities; ``mask``: bool; ``priors``: (3, X, Y, Z) shares on the same grid;
    ``seed`` picks the voxels that the Gaussians are fitted to; a voxel more or less in the mask changes no other choice.
    """
    inside = np.flatnonzero(mask)
    values = brain.data.ravel()[inside]
    low, high = np.percentile(values.astype(np.float64), [0.5, 99.5])
    values = np.clip((values - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)
    prior = np.maximum(priors.reshape(3, -1)[:, inside], np.float32(SMALLEST_PRIOR))
    prior /= prior.sum(axis=0)
    fitted = _chosen(brain, inside, seed)
    means, deviation, weights = _fit(values[fitted].astype(np.float64), prior[:, fitted].astype(np.float64))
    # The fit needs double precision; a million voxels' posteriors do not, and take half the time without.
    posterior = _posterior(values, prior, means.astype(np.float32), np.float32(deviation), weights.astype(np.float32))
    shares = np.zeros((3, mask.size), dtype=np.float32)
    shares[:, inside] = posterior
    return shares.reshape(3, *mask.shape)


def tissue_volumes_ml(shares: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Volumes in mL by tissue, and their sum as ``brain``."""
    volumes = {name: round(float(share.sum()) * voxel_ml, 3) for name, share in zip(TISSUES, shares, strict=True)}
    return {"brain": round(sum(volumes.values()), 3)} | volumes


def _chosen(brain: Volume, inside: np.ndarray, seed: int) -> np.ndarray:
    """Which of the voxels ``inside`` (n,), as flat indices, are fitted: bool (n,), some FITTED_VOXELS evenly over the brain.

    A voxel is chosen by its place in the world alone. A draw from a list would be another one for a mask of one voxel more, and
    move the volumes by a percent.
    """
    place = np.linalg.solve(brain.affine[:3, :3], brain.affine[:3, 3])  # of the first voxel, in voxels
    phases = [
        (start + np.arange(size)) * step for start, size, step in zip(place, brain.data.shape, STEPS, strict=True)
    ]
    phase = sum(np.ix_(*phases)) + np.random.default_rng(seed).random()
    return phase.ravel()[inside] % 1 < FITTED_VOXELS / len(inside)


def _fit(values: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Means (3,), their common standard deviation, and the tissues' weights (3,), from intensities (n,) and priors (3, n).

    One deviation for all: with one each, grey matter's grows over the fluid that an older head has in the atlas' cortex. The
    weights let a head have more or less of a tissue than the atlas.
    """
    # The voxels that the atlas is surest of start each tissue; in T1 CSF is dark, GM between, WM bright.
    sure = prior**4
    means = np.sort((sure * values).sum(axis=1) / sure.sum(axis=1))
    deviation, weights = max(float(values.std()) / 3, SMALLEST_SD), np.ones(3)
    for _ in range(ITERATIONS):
        share = _posterior(values, prior, means, deviation, weights)
        total = share.sum(axis=1) + 1e-9
        means = (share * values).sum(axis=1) / total
        variance = float((share * (values - means[:, None]) ** 2).sum() / len(values))
        deviation = max(np.sqrt(variance), SMALLEST_SD)
        expected = (prior / (weights[:, None] * prior).sum(axis=0)).sum(axis=1)
        weights = total / expected
    return means, deviation, weights


def _posterior(
    values: np.ndarray, prior: np.ndarray, means: np.ndarray, deviation: float, weights: np.ndarray
) -> np.ndarray:
    density = (values - means[:, None]) / deviation
    density *= density
    density *= -0.5
    np.exp(density, out=density)
    density *= weights[:, None] * prior
    density += 1e-12
    density /= density.sum(axis=0)
    return density
