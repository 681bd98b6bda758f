"""Rigid registration of a session's other modalities (T2w, PDw, FLAIR) to its T1-weighted scan.

It maximises the Mattes mutual information of the brain. The images' own world coordinates are a good start if both were
acquired in one visit, and a bad one if somebody has edited the origin. So a result is accepted only if two starts agree.
"""

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from neurocohort.errors import ScanExcluded
from neurocohort.imaging.registration import HISTOGRAM_BINS, LPS_FROM_RAS, from_itk, to_image
from neurocohort.imaging.volume import Volume, sample, world_grid

SAMPLED_FRACTION = {2: 0.3, 1: 0.15}  # of the voxels of the fixed brain, by shrink factor
MARGIN_VOXELS = 2  # around the brain: in a PD image, fluid and skull have more contrast than grey and white matter
AGREEMENT_MM = 2.0  # largest mean distance over the brain between two results that agree
PERTURBATION_DEGREES, PERTURBATION_MM = 4.0, 6.0


def register_rigid(fixed: Volume, fixed_mask: np.ndarray, moving: Volume, name: str, *, seed: int) -> np.ndarray:
    """Register another modality to the T1-weighted scan.

    Args:
        fixed: The T1-weighted scan on a grid along the world's axes.
        fixed_mask: Its brain mask, bool.
        moving: The other image.
        name: Its modality, for the message.
        seed: Seed of the sampled voxels.

    Returns:
        The rigid transform (4 x 4) from world points (RAS mm) of ``fixed`` to those of ``moving``.

    Raises:
        ScanExcluded: If no two starts agree.
    """
    spacing = max(float(np.cbrt(fixed.voxel_ml * 1000)), float(moving.spacing_mm.min()))
    grid = world_grid(moving, np.ones(moving.data.shape, dtype=bool), spacing, margin_mm=0.0)
    moving = sample(moving, grid, smooth=True)
    points = np.argwhere(fixed_mask)[:: max(1, int(fixed_mask.sum()) // 2000)]
    points = points @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    centre = points.mean(axis=0)
    results: list[tuple[np.ndarray, float]] = []
    apart = np.inf
    for start in _starts(centre, moving):
        try:
            found = _from_start(fixed, fixed_mask, moving, centre, start, seed)
        except RuntimeError as error:
            if "outside" not in str(error):
                raise
            continue  # the images don't overlap; another start may be better
        for earlier in results:
            distance = _distance_mm(found[0], earlier[0], points)
            if distance <= AGREEMENT_MM:
                return min(found, earlier, key=lambda result: result[1])[0]
            apart = min(apart, distance)
        results.append(found)
    raise ScanExcluded(
        "registration",
        f"the {name} image could not be registered to the T1-weighted one: "
        + (f"{len(results)} starts ended {apart:.1f} mm or more apart" if len(results) > 1 else "they do not overlap")
        + f", expected two that agree to {AGREEMENT_MM:g} mm",
    )


def _starts(centre: np.ndarray, moving: Volume):
    """The images' own world, and the brain in the middle of the other image, each of them also perturbed."""
    middle = moving.affine[:3, :3] @ ((np.array(moving.data.shape) - 1) / 2) + moving.affine[:3, 3]
    for shift in (np.zeros(3), middle - centre):
        for side in (0.0, 1.0):
            turn = side * np.deg2rad(PERTURBATION_DEGREES) * np.array([1.0, -1.0, 1.0])
            yield turn, shift + side * PERTURBATION_MM * np.array([1.0, 1.0, -1.0]) / np.sqrt(3)


def _from_start(fixed, fixed_mask, moving, centre, start, seed) -> tuple[np.ndarray, float]:
    """The transform and its Mattes metric; lower is better."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # as in register_affine
    turn, shift = start
    flip = LPS_FROM_RAS[:3, :3]
    transform = sitk.Euler3DTransform()
    transform.SetCenter((flip @ centre).tolist())
    transform.SetRotation(*(flip @ turn).tolist())
    transform.SetTranslation((flip @ shift).tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    around = ndimage.binary_dilation(fixed_mask, iterations=MARGIN_VOXELS)
    method.SetMetricFixedMask(to_image(Volume(around, fixed.affine)) > 0.5)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetOptimizerScalesFromPhysicalShift()
    fixed_image, moving_image = to_image(fixed), to_image(moving)
    for shrink in (2, 1):
        method.SetMetricSamplingPercentage(SAMPLED_FRACTION[shrink], seed)
        method.SetShrinkFactorsPerLevel([shrink])
        method.SetSmoothingSigmasPerLevel([0.5 * shrink])
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=2.0 * shrink, minStep=0.01 * shrink, numberOfIterations=80, relaxationFactor=0.6
        )
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(fixed_image, moving_image)
    return from_itk(transform), float(method.GetMetricValue())


def _distance_mm(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> float:
    """The mean distance between ``points`` (n, 3) after two transforms."""
    difference = a - b
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())
