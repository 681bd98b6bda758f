"""Affine registration of brain to brain, with a check on the result and further starts when it fails.

SimpleITK's Mattes mutual information: as accurate as ANTs' affine and a third of its time. A registration that fails
still returns a transform, so the overlap of the two brain masks and the information that the brains share decide whether to
believe it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from neurocohort.imaging.overlap import dice
from neurocohort.imaging.volume import Grid, Volume, grid_of, sample

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's world is LPS, nibabel's RAS
HISTOGRAM_BINS = 32
# From an upright start a head that lies tilted ends in a wrong optimum, whose mask overlap looks good: so several starts are
# tried at once, on copies so coarse that each takes a tenth of a second, and the best similarity goes on.
START_DEGREES = 25.0
START_MM, MIDDLE_MM = 8.0, 4.0


@dataclass(frozen=True)
class Registration:
    """``fixed_to_moving``: 4 x 4, world points (RAS mm) of the fixed image to those of the moving one.

    ``mask_dice``: overlap of the fixed mask and the moved one, 0 to 1. ``mutual_information``: Mattes, in nats, larger is
    better. ``starts``: how many of the starts were refined until one was found.
    """

    fixed_to_moving: np.ndarray
    mask_dice: float
    mutual_information: float
    starts: int


def register_affine(
    fixed: Volume,
    fixed_mask: np.ndarray,
    moving: Volume,
    moving_mask: np.ndarray,
    *,
    seed: int,
    min_dice: float,
    min_mutual_information: float,
) -> Registration:
    """Register ``moving`` to ``fixed``, both brains (0 outside their masks) on grids along the world's axes.

    Seven starts, upright and turned both ways about each axis, are tried at once on copies of 8 mm, and the best is
    refined. While the masks overlap by less than ``min_dice`` or the brains share less than ``min_mutual_information``, the
    next best start is refined as well, and the most information of all wins: a brain that lies wrong by 30 degrees can
    overlap well. The caller decides whether the best is good.
    """
    # One thread: the sum over threads would change the last bits with their number, and the optimiser amplifies them. The
    # method's own number does not reach the filters inside it; the process's does.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    centre = tuple(np.array([-1.0, -1.0, 1.0]) * _centre(fixed, fixed_mask))
    coarse, middle, fine = (
        [to_image(volume if mm is None else _coarser(volume, mm)) for volume in (fixed, moving)]
        for mm in (START_MM, MIDDLE_MM, None)
    )
    # The two masks come from different programs: one last fit looks at their edge too, one at what lies inside it alone. On
    # painted and synthetic heads the mean of both was nearer to the truth than either.
    inner = to_image(Volume(ndimage.binary_erosion(fixed_mask), fixed.affine)) > 0.5
    found = []
    for start in _starts(fixed, fixed_mask, moving, moving_mask):
        similarity = _similarity(start, centre)
        value = _climb(similarity, coarse, share=1.0, step_mm=8.0, least_mm=0.1, iterations=20, seed=seed)
        found.append((value, similarity))
    found.sort(key=lambda pair: -pair[0])
    best: Registration | None = None
    for count, (_, similarity) in enumerate(found, start=1):
        _climb(similarity, middle, share=0.3, step_mm=4.0, least_mm=0.02, iterations=60, seed=seed)
        affine = sitk.AffineTransform(3)  # from the similarity on to all twelve degrees of freedom
        affine.SetCenter(centre)
        affine.SetMatrix(similarity.GetMatrix())
        affine.SetTranslation(similarity.GetTranslation())
        _climb(affine, middle, share=0.5, step_mm=1.0, least_mm=0.02, iterations=100, seed=seed)
        ends = []
        for share, within in ((0.1, None), (0.2, inner)):
            end = sitk.AffineTransform(affine)
            _climb(end, fine, share=share, step_mm=0.5, least_mm=0.01, iterations=60, seed=seed, within=within)
            ends.append(from_itk(end))
        matrix = np.mean(ends, axis=0)
        moved = sample(Volume(moving_mask, moving.affine), grid_of(fixed), matrix).data > 0.5
        information = _mutual_information(_to_itk(matrix), fine)
        if best is None or information > best.mutual_information:
            best = Registration(matrix, dice(fixed_mask, moved), information, count)
        if best.mask_dice >= min_dice and best.mutual_information >= min_mutual_information:
            break
    return best


def compare_in_place(fixed: Volume, fixed_mask: np.ndarray, moving: Volume, moving_mask: np.ndarray) -> Registration:
    """What register_affine would return for two brains on one grid that need no registration: the identity, no start."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # as in register_affine
    information = _mutual_information(_to_itk(np.eye(4)), [to_image(fixed), to_image(moving)])
    return Registration(np.eye(4), dice(fixed_mask, moving_mask), information, 0)


def remaining_shift_mm(fixed: Volume, fixed_mask: np.ndarray, moving: Volume, *, seed: int) -> float:
    """How far the brain ``moving`` lies from where it should if the two share one space: mean over the fixed brain, in mm.

    It is the displacement by a similarity transform that starts from the identity and looks at copies of START_MM. Unlike the
    overlap of masks it sees a tilt, and unlike the information it does not grow with atrophy.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # as in register_affine
    centre = tuple(np.array([-1.0, -1.0, 1.0]) * _centre(fixed, fixed_mask))
    coarse = [to_image(_coarser(volume, START_MM)) for volume in (fixed, moving)]
    similarity = _similarity(np.eye(4), centre)
    _climb(similarity, coarse, share=1.0, step_mm=8.0, least_mm=0.1, iterations=20, seed=seed)
    moved = from_itk(similarity) - np.eye(4)
    points = np.argwhere(fixed_mask) @ fixed.affine[:3, :3].T + fixed.affine[:3, 3]
    return float(np.linalg.norm(points @ moved[:3, :3].T + moved[:3, 3], axis=1).mean())


def write_itk_affine(path: Path, fixed_to_moving: np.ndarray) -> None:
    """Write the transform as ITK's text file: what ANTs and SimpleITK apply to bring the moving image to the fixed grid.

    Raises RuntimeError where the file doesn't hold it afterwards: SimpleITK reports no error on a full disk.
    """
    transform = _to_itk(fixed_to_moving)
    sitk.WriteTransform(transform, str(path))
    if sitk.ReadTransform(str(path)).GetParameters() != transform.GetParameters():
        raise RuntimeError(f"{path} doesn't hold the transform that was written")


def _starts(fixed: Volume, fixed_mask: np.ndarray, moving: Volume, moving_mask: np.ndarray) -> Iterator[np.ndarray]:
    fixed_centre, moving_centre = _centre(fixed, fixed_mask), _centre(moving, moving_mask)
    size_ratio = (moving_mask.sum() * moving.voxel_ml / (fixed_mask.sum() * fixed.voxel_ml)) ** (1 / 3)
    for turn in [np.eye(3), *(_turn(axis, side * START_DEGREES) for axis in range(3) for side in (1, -1))]:
        start = np.eye(4)
        start[:3, :3] = turn * size_ratio
        start[:3, 3] = moving_centre - start[:3, :3] @ fixed_centre
        yield start


def _turn(axis: int, degrees: float) -> np.ndarray:
    """The rotation by ``degrees`` about one of the world's axes, 3 x 3."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    first, second = (other for other in range(3) if other != axis)
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = cosine
    turn[first, second], turn[second, first] = -sine, sine
    return turn


def _centre(volume: Volume, mask: np.ndarray) -> np.ndarray:
    index = np.argwhere(mask).mean(axis=0)
    return volume.affine[:3, :3] @ index + volume.affine[:3, 3]


def _coarser(volume: Volume, spacing_mm: float) -> Volume:
    extent = (np.array(volume.data.shape) - 1) * volume.spacing_mm
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = volume.affine[:3, 3]
    return sample(volume, Grid(tuple(int(n) for n in np.ceil(extent / spacing_mm) + 1), affine), smooth=True)


def _similarity(start: np.ndarray, centre: tuple) -> sitk.Similarity3DTransform:
    transform = sitk.Similarity3DTransform()
    transform.SetCenter(centre)
    lps = LPS_FROM_RAS @ start @ LPS_FROM_RAS
    transform.SetMatrix(lps[:3, :3].ravel().tolist(), 1e-6)
    transform.SetTranslation((lps[:3, 3] + lps[:3, :3] @ np.array(centre) - np.array(centre)).tolist())
    return transform


def _climb(
    transform: sitk.Transform,
    images: list[sitk.Image],
    *,
    share: float,
    step_mm: float,
    least_mm: float,
    iterations: int,
    seed: int,
    within: sitk.Image | None = None,
) -> float:
    """Move ``transform`` uphill in mutual information; the value reached."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetInterpolator(sitk.sitkLinear)
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, seed)
    if within is not None:
        method.SetMetricFixedMask(within)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step_mm, minStep=least_mm, numberOfIterations=iterations, relaxationFactor=0.6
    )
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(*images)
    return -float(method.GetMetricValue())


def _mutual_information(transform: sitk.Transform, images: list[sitk.Image]) -> float:
    """Over the whole fixed image, as the quality table has had it."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(transform)
    return -float(method.MetricEvaluate(*images))


def to_image(volume: Volume) -> sitk.Image:
    # The grid lies along the world's axes: flipping x and y (as views) gives ITK's identity direction.
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.data[::-1, ::-1].T, dtype=np.float32))
    last = np.array([volume.data.shape[0] - 1, volume.data.shape[1] - 1, 0])
    corner = volume.affine[:3, :3] @ last + volume.affine[:3, 3]
    image.SetSpacing(volume.spacing_mm.tolist())
    image.SetOrigin((corner * np.array([-1.0, -1.0, 1.0])).tolist())
    return image


def _to_itk(fixed_to_moving: np.ndarray) -> sitk.AffineTransform:
    lps = LPS_FROM_RAS @ fixed_to_moving @ LPS_FROM_RAS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def from_itk(transform: sitk.Transform) -> np.ndarray:
    matrix = np.array(transform.GetMatrix()).reshape(3, 3)
    centre, translation = np.array(transform.GetCenter()), np.array(transform.GetTranslation())
    lps = np.eye(4)
    lps[:3, :3] = matrix
    lps[:3, 3] = centre + translation - matrix @ centre
    return LPS_FROM_RAS @ lps @ LPS_FROM_RAS
