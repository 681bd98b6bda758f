"""Volumes in memory: an array with its affine, and resampling to other grids.

World coordinates are RAS millimetres in the whole package, as in nibabel. Bias field and registration are fitted on copies
with axes along the world's, so that no library has to handle a scan's storage order, obliqueness or shear.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

ROUNDING = 1e-4  # voxels: points up to this far beyond the last voxel count as inside


@dataclass(frozen=True)
class Volume:
    """An image: its ``data``, (X, Y, Z) (a tissue map: (3, X, Y, Z)), and its ``affine``, 4 x 4, voxel index to RAS mm."""

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
    """Sampling points: their ``shape`` in voxels, and their ``affine``, 4 x 4, voxel index to RAS mm."""

    shape: tuple[int, ...]
    affine: np.ndarray


def grid_of(volume: Volume) -> Grid:
    """Return the grid of a volume."""
    return Grid(volume.data.shape, volume.affine)


def world_grid(volume: Volume, mask: np.ndarray, spacing_mm: float, margin_mm: float = 10.0) -> Grid:
    """Return an isotropic grid along the world's axes that covers ``mask`` (bool, same shape as the volume) and a margin."""
    # The extremes along each world axis are at the ends of the mask's columns, which are 1 % of its voxels.
    columns = np.argwhere(mask.any(axis=2))
    along = mask[columns[:, 0], columns[:, 1]]
    first, last = along.argmax(axis=1), mask.shape[2] - 1 - along[:, ::-1].argmax(axis=1)
    ends = np.concatenate([np.column_stack([columns, end]) for end in (first, last)])
    world = ends @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    low, high = world.min(axis=0) - margin_mm, world.max(axis=0) + margin_mm
    # The grid is centred on the mask, so that it is the same for any storage order of a head.
    count = np.ceil((high - low) / spacing_mm).astype(int) + 1
    origin = (low + high) / 2 - (count - 1) * spacing_mm / 2
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = origin
    return Grid(tuple(int(n) for n in count), affine)


def sample(
    volume: Volume, grid: Grid, template_to_scan: np.ndarray | None = None, *, order: int = 1, smooth: bool = False
) -> Volume:
    """Resample a volume; outside its field of view the value is 0.

    Args:
        volume: The image.
        grid: The grid of the result.
        template_to_scan: 4 x 4, world points of the grid to those of the volume; default: the identity.
        order: Degree of the interpolating spline: 0 nearest, 1 linear, 3 cubic.
        smooth: Filter the volume first by a Gaussian that matches the coarser grid, so that a coarse copy has means of voxels
            instead of single voxels.
    """
    between = np.eye(4) if template_to_scan is None else template_to_scan
    to_index = np.linalg.inv(volume.affine) @ between @ grid.affine
    data = np.asarray((antialiased(volume, grid) if smooth else volume).data, dtype=np.float32)
    matrix, offset = to_index[:3, :3], to_index[:3, 3]
    if order == 1:
        sampled = _sample_linearly(data, matrix, offset, grid.shape)
    else:
        sampled = ndimage.affine_transform(data, matrix, offset, output_shape=grid.shape, order=order)
    return Volume(sampled, grid.affine)


def antialiased(volume: Volume, grid: Grid) -> Volume:
    """Filter a volume by a Gaussian that matches the spacing of ``grid``; only along axes for which that is coarser."""
    data = np.asarray(volume.data, dtype=np.float32)
    coarse_mm = np.linalg.norm(grid.affine[:3, :3], axis=0).mean()
    # Half the ratio of the spacings gives little aliasing and little blur. There is no filter along axes that get finer.
    ratio = coarse_mm / volume.spacing_mm
    sigma = np.where(ratio > 1.0, 0.5 * np.sqrt(np.maximum(ratio**2 - 1.0, 0.0)), 0.0)
    return Volume(ndimage.gaussian_filter(data, sigma, truncate=3.0) if sigma.any() else data, volume.affine)


def _sample_linearly(data: np.ndarray, matrix: np.ndarray, offset: np.ndarray, shape: tuple) -> np.ndarray:
    """Do what ndimage.affine_transform does with order 1, in half of its time."""
    import SimpleITK as sitk  # noqa: N813  (training uses this module without it)

    transform = sitk.AffineTransform(3)  # ITK's axes are numpy's from last to first
    transform.SetMatrix(matrix[::-1, ::-1].ravel().tolist())
    transform.SetTranslation(offset[::-1].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)
    resampler.SetTransform(transform)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetSize([int(n) for n in shape[::-1]])
    sampled = sitk.GetArrayFromImage(resampler.Execute(sitk.GetImageFromArray(np.ascontiguousarray(data))))
    # ITK interpolates up to a voxel's outer face; here the field of view ends at its centre, as in sample_deformed.
    first, last = _columns_inside(matrix, offset, shape, data.shape)
    along = np.arange(shape[2], dtype=np.float32)
    sampled[(along < first[..., None]) | (along > last[..., None])] = 0
    return sampled


def _columns_inside(matrix: np.ndarray, offset: np.ndarray, shape: tuple, size: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each column along the last axis of a grid, where it enters and leaves an image of ``size`` voxels."""
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
    """Resample a label map: each voxel gets the label with the largest linearly interpolated fraction (0 wins ties).

    Boundaries are smoother than with the nearest voxel, and no new label appears. ``template_to_scan``: as in `sample`.
    """
    fractions = [
        sample(Volume(labels.data == value, labels.affine), grid, template_to_scan).data
        for value in range(int(labels.data.max()) + 1)
    ]
    # Outside the field of view every fraction is 0; background wins there because it comes first.
    return Volume(np.argmax(fractions, axis=0).astype(np.uint8), grid.affine)


def uncropped(part: Volume, grid: Grid) -> Volume:
    """Return a part of an image (see `cropped`) on the image's whole ``grid``, with 0 around it."""
    first = np.rint(np.linalg.solve(grid.affine, part.affine[:, 3])[:3]).astype(int)
    whole = np.zeros(grid.shape, dtype=part.data.dtype)
    whole[tuple(slice(start, start + size) for start, size in zip(first, part.data.shape, strict=True))] = part.data
    return Volume(whole, grid.affine)


def cropped(volume: Volume, mask: np.ndarray, margin_voxels: int = 3) -> tuple[Volume, np.ndarray]:
    """Crop a volume and its mask (bool) to the mask's bounding box, so that later stages handle a quarter of the voxels."""
    slices = bounding_box(mask, margin_voxels)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([s.start for s in slices])
    return Volume(volume.data[slices], affine), mask[slices]


def bounding_box(mask: np.ndarray, margin_voxels: int = 0) -> tuple[slice, ...]:
    """Return the bounding box of a mask (bool, not empty) with a margin, limited to the array."""
    slices = []
    for axis, size in enumerate(mask.shape):
        planes = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        slices.append(slice(max(0, int(planes[0]) - margin_voxels), min(size, int(planes[-1]) + margin_voxels + 1)))
    return tuple(slices)
