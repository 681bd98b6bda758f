"""Probabilities and volumes of CSF, grey and white matter, for the baselines and the quality numbers.

The model has one Gaussian per tissue for the intensities inside the brain mask, with the template's tissue probabilities as prior
of each voxel, fitted by expectation-maximisation. That is the core of unified segmentation (Ashburner and Friston 2005) without
its deformation and its bias field, which are separate stages here.
"""

import numpy as np

from neurocohort.imaging.volume import Volume

TISSUES = ("csf", "gm", "wm")
FITTED_VOXELS = 30_000  # more voxels change the means by less than 1 %
STEPS = np.sqrt([2.0, 3.0, 5.0])  # irrational: multiples of each fall evenly between whole numbers
ITERATIONS = 30
SMALLEST_PRIOR = 0.02  # the template never excludes a tissue from a voxel: the scan's anatomy may differ
SMALLEST_SD = 0.02  # of the intensity range


def segment_tissues(brain: Volume, mask: np.ndarray, priors: np.ndarray, *, seed: int) -> np.ndarray:
    """Estimate the probabilities of CSF, GM and WM in each voxel of a brain.

    Args:
        brain: Bias-corrected T1-weighted intensities.
        mask: Brain mask, bool, same shape.
        priors: Prior probabilities, (3, X, Y, Z), on the same grid.
        seed: Seed of the voxels to which the Gaussians are fitted.

    Returns:
        Posterior probabilities, (3, X, Y, Z) float32; their sum is 1 inside ``mask`` and 0 outside.
    """
    inside = np.flatnonzero(mask)
    values = brain.data.ravel()[inside]
    low, high = np.percentile(values.astype(np.float64), [0.5, 99.5])
    values = np.clip((values - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)
    prior = np.maximum(priors.reshape(3, -1)[:, inside], np.float32(SMALLEST_PRIOR))
    prior /= prior.sum(axis=0)
    fitted = _chosen(brain, inside, seed)
    means, deviation, weights = _fit(values[fitted].astype(np.float64), prior[:, fitted].astype(np.float64))
    # The fit needs double precision; the posteriors of a million voxels don't, and take half the time in single precision.
    probabilities = np.zeros((3, mask.size), dtype=np.float32)
    probabilities[:, inside] = _posterior(
        values, prior, means.astype(np.float32), np.float32(deviation), weights.astype(np.float32)
    )
    return probabilities.reshape(3, *mask.shape)


def tissue_volumes_ml(probabilities: np.ndarray, voxel_ml: float) -> dict[str, float | None]:
    """Return the volumes in mL by tissue, and their sum as ``brain``, from probabilities (3, X, Y, Z)."""
    volumes = [round(float(tissue.sum()) * voxel_ml, 3) for tissue in probabilities]
    return {"brain": round(sum(volumes), 3), **dict(zip(TISSUES, volumes, strict=True))}


def _chosen(brain: Volume, inside: np.ndarray, seed: int) -> np.ndarray:
    """Choose about FITTED_VOXELS of the voxels ``inside`` (flat indices, (n,)), evenly over the brain: bool (n,).

    The choice depends on a voxel's world coordinates alone. A random sample would change completely with one more voxel in the
    mask, and the volumes by 1 %.
    """
    place = np.linalg.solve(brain.affine[:3, :3], brain.affine[:3, 3])  # of the first voxel, in voxels
    phases = [
        (start + np.arange(size)) * step for start, size, step in zip(place, brain.data.shape, STEPS, strict=True)
    ]
    x, y, z = np.ix_(*phases)
    phase = x + y + z + np.random.default_rng(seed).random()
    return phase.ravel()[inside] % 1 < FITTED_VOXELS / len(inside)


def _fit(values: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Fit the means (3,), their common standard deviation, and the tissues' weights (3,).

    ``values``: intensities (n,); ``prior``: (3, n). The deviation is common because that of grey matter alone would grow to
    include the fluid that older heads have where the template has cortex. Weights allow for more or less of a tissue than in
    the template.
    """
    # Start from the voxels with the largest prior. In T1-weighted images CSF is dark, GM is in between, WM is bright.
    sure = prior**4
    means = np.sort((sure * values).sum(axis=1) / sure.sum(axis=1))
    deviation, weights = max(float(values.std()) / 3, SMALLEST_SD), np.ones(3)
    for _ in range(ITERATIONS):
        posterior = _posterior(values, prior, means, deviation, weights)
        total = posterior.sum(axis=1) + 1e-9
        means = (posterior * values).sum(axis=1) / total
        variance = float((posterior * (values - means[:, None]) ** 2).sum() / len(values))
        deviation = max(np.sqrt(variance), SMALLEST_SD)
        expected = (prior / (weights[:, None] * prior).sum(axis=0)).sum(axis=1)
        weights = total / expected
    return means, deviation, weights


def _posterior(
    values: np.ndarray, prior: np.ndarray, means: np.ndarray, deviation: float | np.floating, weights: np.ndarray
) -> np.ndarray:
    density = (values - means[:, None]) / deviation
    density *= density
    density *= -0.5
    np.exp(density, out=density)
    density *= weights[:, None] * prior
    density += 1e-12
    density /= density.sum(axis=0)
    return density
