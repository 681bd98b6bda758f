"""A scan in memory: a float32 array with its affine, and the one way to sample it on another grid.

World coordinates are RAS millimetres throughout the package (nibabel's convention). Fitting steps (bias field,
registration) work on copies whose axes are those of the world, so that a scan's storage order, obliqueness or shear never
reaches a library that would treat it differently.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

ROUNDING = 1e-4  # voxels: what lies this far outside of an image's last voxel lies on it


@dataclass(frozen=True)
class Volume:
    """``data``: array (X, Y, Z); ``affine``: 4 x 4, voxel index to RAS millimetres."""

    data: np.ndarray
    affine: np.ndarray

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance between voxel centres along each array axis, in mm, shape (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000.0


@dataclass(frozen=True)
class Grid:
    """Where an image is sampled: ``shape`` in voxels and the ``affine`` to RAS millimetres."""

    shape: tuple[int, int, int]
    affine: np.ndarray


def grid_of(volume: Volume) -> Grid:
    """The grid on which ``volume`` is sampled."""
    return Grid(volume.data.shape, volume.affine)


def world_grid(volume: Volume, mask: np.ndarray, spacing_mm: float, margin_mm: float = 10.0) -> Grid:
    """An isotropic grid along the world's axes that covers ``mask`` (bool, shape of the volume) and a margin."""
    # The extremes of each world axis lie at the ends of the mask's columns: a hundredth of its voxels.
    columns = np.argwhere(mask.any(axis=2))
    along = mask[columns[:, 0], columns[:, 1]]
    first, last = along.argmax(axis=1), mask.shape[2] - 1 - along[:, ::-1].argmax(axis=1)
    ends = np.concatenate([np.column_stack([columns, end]) for end in (first, last)])
    world = ends @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    low, high = world.min(axis=0) - margin_mm, world.max(axis=0) + margin_mm
    # The middle of the mask, not its corner, anchors the grid: it is the same for any storage order of one head.
    count = np.ceil((high - low) / spacing_mm).astype(int) + 1
    origin = (low + high) / 2 - (count - 1) * spacing_mm / 2
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = origin
    return Grid(tuple(int(n) for n in count), affine)


def sample(
    volume: Volume, grid: Grid, template_to_scan: np.ndarray | None = None, *, order: int = 1, smooth: bool = False
) -> Volume:
    """Sample ``volume`` on ``grid``; outside the field of view the value is 0.

    ``template_to_scan``: 4 x 4, maps world points of the grid to world points of the volume (identity by default).
    ``order``: degree of the interpolating spline (0 nearest, 1 linear, 3 cubic). ``smooth`` filters the volume first with
    the Gaussian whose width matches the coarser grid, so that a coarse copy holds means instead of picked voxels.
    """
    between = np.eye(4) if template_to_scan is None else template_to_scan
    to_index = np.linalg.inv(volume.affine) @ between @ grid.affine
    data = np.asarray(volume.data, dtype=np.float32)
    if smooth:
        coarse_mm = np.linalg.norm(grid.affine[:3, :3], axis=0).mean()
        # Half the ratio of the spacings leaves little aliasing and little blur; nothing is filtered where it is finer.
        ratio = coarse_mm / volume.spacing_mm
        sigma = np.where(ratio > 1.0, 0.5 * np.sqrt(np.maximum(ratio**2 - 1.0, 0.0)), 0.0)
        data = ndimage.gaussian_filter(data, sigma, truncate=3.0) if sigma.any() else data
    matrix, offset = to_index[:3, :3], to_index[:3, 3]
    if order == 1:
        sampled = _sample_linearly(data, matrix, offset, grid.shape)
    else:
        sampled = ndimage.affine_transform(data, matrix, offset, output_shape=grid.shape, order=order)
    return Volume(sampled, grid.affine)


def _sample_linearly(data: np.ndarray, matrix: np.ndarray, offset: np.ndarray, shape: tuple) -> np.ndarray:
    """What ndimage.affine_transform gives with order 1, in half of its time."""
    import SimpleITK as sitk  # noqa: N813  (training, which has grids too, does without)

    transform = sitk.AffineTransform(3)  # ITK's axes are numpy's from last to first
    transform.SetMatrix(matrix[::-1, ::-1].ravel().tolist())
    transform.SetTranslation(offset[::-1].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)
    resampler.SetTransform(transform)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetSize([int(n) for n in shape[::-1]])
    sampled = sitk.GetArrayFromImage(resampler.Execute(sitk.GetImageFromArray(np.ascontiguousarray(data))))
    # ITK has values as far as a voxel's outer face; the field of view ends at its centre, as in sample_deformed.
    first, last = _columns_inside(matrix, offset, shape, data.shape)
    along = np.arange(shape[2], dtype=np.float32)
    sampled[(along < first[..., None]) | (along > last[..., None])] = 0
    return sampled


def _columns_inside(matrix: np.ndarray, offset: np.ndarray, shape: tuple, size: tuple) -> tuple[np.ndarray, np.ndarray]:
    """For each column of a grid of ``shape`` along its last axis, where it enters and leaves an image of ``size`` voxels."""
    first, last = np.zeros(shape[:2]), np.full(shape[:2], shape[2] - 1.0)
    for steps, start, voxels in zip(matrix, offset, size, strict=True):
        index = start + steps[0] * np.arange(shape[0])[:, None] + steps[1] * np.arange(shape[1])
        if abs(steps[2]) < ROUNDING / shape[2]:  # the column runs along this face
            last[(index < -ROUNDING) | (index > voxels - 1 + ROUNDING)] = -1
            continue
        ends = np.sort(np.stack([-index, voxels - 1 - index]) / steps[2], axis=0)
        first, last = np.maximum(first, ends[0] - ROUNDING), np.minimum(last, ends[1] + ROUNDING)
    return first.astype(np.float32), last.astype(np.float32)


def sample_labels(labels: Volume, grid: Grid, template_to_scan: np.ndarray) -> Volume:
    """Sample a label map on ``grid``: the label with the largest linearly interpolated share (0 wins ties).

    Smoother at boundaries than the nearest voxel, and never a label that is not there.
    """
    shares = [
        sample(Volume(labels.data == value, labels.affine), grid, template_to_scan).data
        for value in range(int(labels.data.max()) + 1)
    ]
    # Outside the field of view every share is 0; background wins there because it comes first.
    return Volume(np.argmax(shares, axis=0).astype(np.uint8), grid.affine)


def uncropped(part: Volume, grid: Grid) -> Volume:
    """The part of an image that `cropped` left, on the image's whole grid again; 0 around it."""
    first = np.rint(np.linalg.solve(grid.affine, part.affine[:, 3])[:3]).astype(int)
    whole = np.zeros(grid.shape, dtype=part.data.dtype)
    whole[tuple(slice(start, start + size) for start, size in zip(first, part.data.shape, strict=True))] = part.data
    return Volume(whole, grid.affine)


def cropped(volume: Volume, mask: np.ndarray, margin_voxels: int = 3) -> tuple[Volume, np.ndarray]:
    """The part of ``volume`` around ``mask`` and the mask's own part: later steps then touch a quarter of the voxels."""
    slices = bounding_box(mask, margin_voxels)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([s.start for s in slices])
    return Volume(volume.data[slices], affine), mask[slices]


def bounding_box(mask: np.ndarray, margin_voxels: int = 0) -> tuple[slice, ...]:
    """The smallest box of voxels around ``mask`` (bool, not empty) with a margin that stays inside the array."""
    slices = []
    for axis, size in enumerate(mask.shape):
        planes = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        slices.append(slice(max(0, int(planes[0]) - margin_voxels), min(size, int(planes[-1]) + margin_voxels + 1)))
    return tuple(slices)
