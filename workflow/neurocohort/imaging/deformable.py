"""Deformable registration of a brain to the template by greedy (Yushkevich et al. 2016), after the affine.

greedy is in the package picsl-greedy, whose core is under the GPL-3, so its installation is optional. The result is a
displacement on the template's coarse grid and its inverse, for points and images in both directions, and is written in ITK's
format.
"""

import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from neurocohort.errors import InputError, ScanExcluded
from neurocohort.imaging.overlap import dice
from neurocohort.imaging.volume import Grid, Volume, cropped, grid_of, sample

GREEDY_REQUIREMENT = "picsl-greedy==1.4.0.3"

# Measured on a brain of 1 mm with a known deformation; the error after the affine is 2.83 mm (tests/unit/test_deformable.py has
# a smaller one). Error in mm, CPU seconds on one core; at 2 mm without the margin unless stated otherwise:
#   NCC, no mask                            100x50x10, 1.732vox 0.707vox    2.20     7
#   WNCC, no mask                           100x50x10, 1.732vox 0.707vox    1.53     7
#   NCC, dilated mask, with the margin      100x50x10, 1.732vox 0.707vox    0.77     9   <- this one
#   WNCC, dilated mask                      100x50x10, 1.732vox 0.5vox      0.76     7
#   NCC, dilated mask, smoother updates     100x50x10, 2.5vox 0.5vox        0.64     7
#   NCC, dilated mask, at 1 mm              100x50x10, 1.732vox 0.707vox    0.55    59, and twice the memory
#   antsRegistrationSyNQuick[s], at 1 mm    its own                         1.35   194, and four times the memory
# The mask is needed because a correlation in a small window is as sensitive to the noise outside the brain as to anatomy. It is
# two voxels larger than the brain, because without its edge the mask Dice is 0.94 only.
# Among six real heads at 2 mm, the mean Dice of the MUSE regions between two of them in template space rose from 0.48 (affine)
# to 0.65. Less smoothing of the whole gained up to 0.01; smoother updates (better for a known, smooth deformation) lost 0.01;
# both made the volume changes more extreme.
METRIC = "NCC 2x2x2"
ITERATIONS = "100x50x10"  # at 4, 2 and 1 times the spacing
SMOOTHING = "1.732vox 0.7071vox"  # of each update, and of the whole displacement
STEPS = "SCALEDOWN"  # never scaled up to full length: noise would move a brain that fits already by 1.3 mm
MASK_DILATION_VOXELS = 2
MARGIN_MM = 20.0  # of the grid around the brain
TAPER_MM = 10.0  # at the end of the margin, where the displacement decreases to 0: greedy's own is up to 4 mm

ROUNDED_TO_MM = 1 / 256  # halves the size of the files; much finer than the error of any registration
MAX_FOLDED_SHARE = 0.001
DICE_TOLERANCE = 0.01  # if the affine fits perfectly, the deformation can be slightly worse


@dataclass(frozen=True)
class PointMap:
    """A map from world points to world points (RAS mm): x to ``after @ (y + displacement(y))`` with ``y = before @ x``.

    Attributes:
        before: 4 x 4.
        displacement: (X, Y, Z, 3) float32, RAS mm; interpolated linearly, 0 in the outermost layer and beyond it.
        grid: The displacement's grid, along the world's axes.
        after: 4 x 4.
    """

    before: np.ndarray
    displacement: np.ndarray
    grid: Grid
    after: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points, (..., 3)."""
        points = _applied(self.before, points)
        index = np.moveaxis(_applied(np.linalg.inv(self.grid.affine), points), -1, 0)
        moves = [ndimage.map_coordinates(self.displacement[..., axis], index, order=1) for axis in range(3)]
        return _applied(self.after, points + np.stack(moves, axis=-1))


@dataclass(frozen=True)
class Deformation:
    """A deformable registration, with numbers to judge it by. Below, u and v are displacements, and v is the inverse of u.

    Attributes:
        template_to_scan: x to ``affine @ (x + u(x))``.
        scan_to_template: p to ``y + v(y)`` with ``y = inverse(affine) @ p``.
        mask_dice: Overlap of the brain masks of template and scan after the deformation, 0 to 1.
        affine_mask_dice: The same after the affine alone.
        folded_fraction: Fraction of the template's brain in which the Jacobian determinant of ``x + u(x)`` is not positive.
        jacobian_range: Its smallest and largest value; 2 means twice the volume in the scan, after the affine.
    """

    template_to_scan: PointMap
    scan_to_template: PointMap
    mask_dice: float
    affine_mask_dice: float
    folded_fraction: float
    jacobian_range: tuple[float, float]

    def metrics(self) -> dict[str, float]:
        """The numbers of the quality table."""
        return {
            "deformed_dice": round(self.mask_dice, 5),
            "folded_share": round(self.folded_fraction, 6),
            "jacobian_min": round(self.jacobian_range[0], 4),
            "jacobian_max": round(self.jacobian_range[1], 4),
        }


def deformable_available() -> str | None:
    """Return None if greedy is installed, else an error message with what to install."""
    if importlib.util.find_spec("picsl_greedy") is not None:
        return None
    return (
        "preprocessing.registration is 'deformable', which needs the package picsl-greedy, and it is not installed here: "
        f"run `pip install {GREEDY_REQUIREMENT}` in the environment of the jobs (it holds code under the GPL-3, so it is "
        "not installed by default), or set preprocessing.registration to 'affine'."
    )


def register_deformable(
    fixed: Volume, fixed_mask: np.ndarray, moving: Volume, moving_mask: np.ndarray, affine: np.ndarray, *, seed: int
) -> Deformation:
    """Register a brain to the template on one thread, so that equal inputs give equal results.

    Args:
        fixed: The template's brain, 2 to 3 mm, on a grid along the world's axes.
        fixed_mask: bool.
        moving: The brain, on any grid.
        moving_mask: bool.
        affine: 4 x 4, world points (RAS mm) of the fixed image to those of the moving one, from register_affine.
        seed: Seed of the noise that greedy adds to constant parts of an image.

    Returns:
        The deformation; check_deformation decides whether it is good.

    Raises:
        InputError: If greedy isn't installed.
    """
    if problem := deformable_available():
        raise InputError(problem)
    fixed, fixed_mask = cropped(fixed, fixed_mask, int(np.ceil(MARGIN_MM / fixed.spacing_mm.min())))
    grid = grid_of(fixed)
    # The affine is part of the only resampling: both images are on one grid, and greedy needs no orientation.
    moved = sample(Volume(moving.data * moving_mask, moving.affine), grid, affine, smooth=True)
    forward, inverse = _run_greedy(fixed.data * fixed_mask, fixed_mask, moved.data, fixed.spacing_mm, seed)
    return deformation_of(
        forward, inverse, Volume(fixed_mask, fixed.affine), Volume(moving_mask, moving.affine), affine
    )


def deformation_of(
    forward: np.ndarray, inverse: np.ndarray, fixed_mask: Volume, moving_mask: Volume, affine: np.ndarray
) -> Deformation:
    """Return the deformation with these displacements, and the numbers to judge it by.

    Args:
        forward: u on the grid of the fixed mask, (X, Y, Z, 3), mm.
        inverse: v, the same.
        fixed_mask: bool, on a grid along the world's axes.
        moving_mask: bool.
        affine: 4 x 4, world points (RAS mm) of the template to those of the scan.
    """
    grid, inside = grid_of(fixed_mask), fixed_mask.data
    template_to_scan = PointMap(np.eye(4), forward, grid, affine)
    scan_to_template = PointMap(np.linalg.inv(affine), inverse, grid, np.eye(4))
    determinant = displacement_determinant(forward, fixed_mask.spacing_mm)[inside]
    return Deformation(
        template_to_scan,
        scan_to_template,
        mask_dice=dice(inside, sample_deformed(moving_mask, grid, template_to_scan).data > 0.5),
        affine_mask_dice=dice(inside, sample(moving_mask, grid, affine).data > 0.5),
        folded_fraction=1.0 - float(np.mean(determinant > 0)),  # so that NaN counts as folded
        jacobian_range=(float(determinant.min()), float(determinant.max())),
    )


def rounded(displacement: np.ndarray) -> np.ndarray:
    """Return a displacement in mm rounded to ROUNDED_TO_MM, float32."""
    return (np.round(displacement / ROUNDED_TO_MM) * ROUNDED_TO_MM).astype(np.float32)


def check_deformation(deformation: Deformation) -> None:
    """Raise ScanExcluded if the displacement folds the brain or fits worse than the affine.

    The affine isn't used instead: if only some scans of a cohort were deformed, the difference would affect every result.
    """
    if deformation.folded_fraction > MAX_FOLDED_SHARE:
        raise ScanExcluded(
            "registration",
            f"the deformable registration folds {100 * deformation.folded_fraction:.2f} % of the brain, expected at most "
            f"{100 * MAX_FOLDED_SHARE:.2f} %",
        )
    if deformation.mask_dice < deformation.affine_mask_dice - DICE_TOLERANCE:
        raise ScanExcluded(
            "registration",
            f"after the deformable registration the brain mask overlaps the template's with Dice "
            f"{deformation.mask_dice:.3f}, less than the {deformation.affine_mask_dice:.3f} after the affine",
        )


def sample_deformed(image: Volume, grid: Grid, point_map: PointMap, *, order: int = 1) -> Volume:
    """Resample an image once; outside its field of view the value is 0.

    Args:
        image: The image.
        grid: The grid of the result.
        point_map: World points of the grid to those of the image: ``template_to_scan`` for a scan on a grid in template space,
            ``scan_to_template`` for the template on a scan's grid.
        order: 0 nearest, 1 linear, 3 cubic.
    """
    data = np.asarray(image.data, dtype=np.float32)
    data = ndimage.spline_filter(data, order, output=np.float32) if order > 1 else data
    sampled = np.empty(grid.shape, dtype=np.float32)
    for slab, index in _slabs(image, grid, point_map):
        sampled[slab] = ndimage.map_coordinates(data, index, order=order, prefilter=False)
    return Volume(sampled, grid.affine)


def sample_labels_deformed(labels: Volume, grid: Grid, point_map: PointMap) -> Volume:
    """Resample a label map (0 to 255) as `volume.sample_labels` does with an affine; the smallest label wins ties."""
    sampled = np.zeros(grid.shape, dtype=np.uint8)
    values = np.unique(labels.data)
    for slab, index in _slabs(labels, grid, point_map):
        largest = np.zeros(sampled[slab].shape, dtype=np.float32)
        for value in values:
            fraction = ndimage.map_coordinates((labels.data == value).astype(np.float32), index, order=1)
            wins = fraction > largest
            sampled[slab][wins] = value
            largest[wins] = fraction[wins]
    return Volume(sampled, grid.affine)


def displacement_determinant(displacement: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Return the Jacobian determinant of x + displacement(x) by central differences, (X, Y, Z).

    Args:
        displacement: (X, Y, Z, 3), mm, on a grid along the world's axes.
        spacing_mm: Of the grid, (3,).
    """
    rows = [np.stack(np.gradient(displacement[..., axis], *spacing_mm), axis=-1) for axis in range(3)]
    return np.linalg.det(np.stack(rows, axis=-2) + np.eye(3))


def write_itk_displacement(path: Path, point_map: PointMap) -> None:
    """Write the displacement in ITK's format: NIfTI, five dimensions, intent vector, LPS mm.

    The affine is a separate file (write_itk_affine). ``antsApplyTransforms`` needs the files in the order in which points pass
    them: ``-t displacement.nii.gz -t affine.txt`` resamples a scan to the template, ``-t inverse_affine.txt
    -t inverse_displacement.nii.gz`` the template to a scan. SimpleITK needs the reverse order:
    ``CompositeTransform([affine, displacement])``.
    """
    lps = point_map.displacement * np.array([-1, -1, 1], dtype=np.float32)
    image = nib.Nifti1Image(lps[:, :, :, np.newaxis, :], point_map.grid.affine)
    image.header.set_intent("vector")
    image.header.set_xyzt_units("mm")
    image.set_sform(point_map.grid.affine, code=4)  # the grid is in MNI space in both directions
    image.set_qform(point_map.grid.affine, code=4)
    nib.openers.Opener.default_compresslevel = 3  # as write_image, so that equal data give equal bytes
    nib.save(image, path)


def _run_greedy(
    fixed: np.ndarray, fixed_mask: np.ndarray, moving: np.ndarray, spacing_mm: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The displacement from the fixed image to the moving one and its inverse, each (X, Y, Z, 3), RAS mm."""
    from picsl_greedy import GreedyFloat3D

    greedy, log = GreedyFloat3D(), io.StringIO()
    greedy.execute(
        # -wp 0: no rounding to a tenth of a voxel. A seed of 0 would be the time.
        f"-threads 1 -V 0 -seed {seed + 1} -i fixed moving -gm mask -m {METRIC} -n {ITERATIONS} -s {SMOOTHING} -tscale {STEPS}"
        " -wp 0 -o forward -oinv inverse",
        out=log,
        err=log,
        fixed=_to_image(fixed, spacing_mm),
        moving=_to_image(moving, spacing_mm),
        mask=_to_image(ndimage.binary_dilation(fixed_mask, iterations=MASK_DILATION_VOXELS), spacing_mm),
        forward=None,
        inverse=None,
    )
    return _from_image(greedy["forward"], spacing_mm), _from_image(greedy["inverse"], spacing_mm)


def _to_image(data: np.ndarray, spacing_mm: np.ndarray):
    import SimpleITK as sitk  # noqa: N813

    # Flipping x and y (as views) turns RAS into ITK's LPS with the identity as direction.
    image = sitk.GetImageFromArray(np.ascontiguousarray(data[::-1, ::-1].T, dtype=np.float32))
    image.SetSpacing(spacing_mm.tolist())
    return image


def _from_image(image, spacing_mm: np.ndarray) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813

    lps = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0, 3)[::-1, ::-1]
    displacement = lps * np.array([-1, -1, 1])
    for axis, size in enumerate(displacement.shape[:3]):
        from_end = np.minimum(np.arange(size), np.arange(size)[::-1]) * spacing_mm[axis]
        ramp = np.sin(np.pi / 2 * np.minimum(from_end / TAPER_MM, 1.0)) ** 2
        displacement *= np.expand_dims(ramp, [other for other in range(4) if other != axis])
    return rounded(displacement)


def _slabs(image: Volume, grid: Grid, point_map: PointMap) -> Iterator[tuple[slice, np.ndarray]]:
    """Slabs of the grid and the positions of their voxels in the image, (3, ...): all at once would take gigabytes."""
    thickness = 16
    to_index = np.linalg.inv(image.affine)
    for first in range(0, grid.shape[0], thickness):
        slab = slice(first, min(first + thickness, grid.shape[0]))
        axes = np.meshgrid(np.arange(slab.start, slab.stop), *(np.arange(n) for n in grid.shape[1:]), indexing="ij")
        points = point_map(_applied(grid.affine, np.stack(axes, axis=-1)))
        yield slab, np.moveaxis(_applied(to_index, points), -1, 0)


def _applied(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]
