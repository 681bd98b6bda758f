"""Preprocess one scan of any part of the body in its own space: foreground, intensities, and a grid around the foreground.

Nothing is registered. The transform between the study's grid and the scan is a rigid one: it moves the middle of the grid to the
middle of the foreground's box, along the scan's own axes, so that the position that the header states and the storage order of
the file change no result.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from neurocohort.errors import ScanExcluded
from neurocohort.imaging.brain_extraction import without_holes
from neurocohort.imaging.intensity import scale_of
from neurocohort.imaging.mosaic import draw_native_mosaic
from neurocohort.imaging.own_axes import along_own_axes, moved
from neurocohort.imaging.reading import read_labels, read_own_units, read_whole_image
from neurocohort.imaging.scan_results import Derivatives, PreprocessedScan
from neurocohort.imaging.volume import Grid, Volume, bounding_box, sample, sample_labels
from neurocohort.settings.scan import ScanSettings

# The foreground is above this fraction of the range from air to the brightest tissue, as FSL's "robust" threshold.
FOREGROUND_LEVEL = 0.1
RANGE_PERCENTILES = (2.0, 98.0)  # the range, where no window gives it
SMALLEST_FOREGROUND = 100  # voxels

Read = Callable[[Path], Volume]


def reader_of(settings: ScanSettings) -> Read:
    """Return the function that reads a scan: with a window in the units of the file, else on the common intensity scale."""
    return read_own_units if settings.window else read_whole_image


def native_stages(
    result: PreprocessedScan, grid: Grid, settings: ScanSettings, read: Read
) -> Iterator[PreprocessedScan]:
    """Yield the result after each stage, so that an error in the next one doesn't lose it.

    Args:
        result: A result with the input.
        grid: The study's grid (see `template.native_grid`).
        settings: The settings.
        read: Reads the scan; see `reader_of`.

    Raises:
        ScanExcluded: If the scan can't be read, or has no foreground.
    """
    if result.images.extra:
        raise ScanExcluded(
            "read", f"native space takes one image a scan, and there is {', '.join(result.images.extra)} too"
        )
    scan, to_world = along_own_axes(read(result.images.t1w))
    mask = foreground_of(scan.data, settings.window)
    low_mm, high_mm = extent_mm(Volume(mask, scan.affine))
    numbers = {"foreground_ml": round(float(np.count_nonzero(mask)) * scan.voxel_ml, 3)}
    numbers |= {"voxel_min_mm": round(float(scan.spacing_mm.min()), 4)}
    numbers |= {"voxel_max_mm": round(float(scan.spacing_mm.max()), 4)}
    needed = np.ceil((high_mm - low_mm) / grid.affine[0, 0] - 1e-3)
    numbers |= {"foreground_fraction": round(float(mask.mean()), 4)}
    numbers |= {f"needed_{axis}": float(count) for axis, count in zip("xyz", needed, strict=True)}
    yield (result := result.with_metrics(numbers))

    to_scan = np.eye(4)
    to_scan[:3, 3] = (low_mm + high_mm) / 2
    cut = fraction_outside(Volume(mask, scan.affine), grid, to_scan)
    yield (result := result.with_metrics({"foreground_cut": round(cut, 5)}))
    scaled = Volume(scaled_by(scan.data, mask, settings), scan.affine)
    image = sample(scaled, grid, to_scan, smooth=True)
    if not image.data.any():
        raise ScanExcluded("intensity", _nothing_visible(settings))
    yield (result := replace(result, mosaic=draw_native_mosaic(scaled, mask, image)))
    derivatives = Derivatives(
        moved(Volume(mask, scan.affine), to_world), None, to_world @ to_scan, None, {"T1w": image}
    )
    yield (result := replace(result, derivatives=derivatives))
    if result.images.labels is not None:
        labels = moved(read_labels(result.images.labels), np.linalg.inv(to_world))
        yield replace(result, labels=sample_labels(labels, grid, to_scan))


def foreground_of(data: np.ndarray, window: list[float] | None = None) -> np.ndarray:
    """Return the largest connected part of an image above FOREGROUND_LEVEL of its range of intensities, with its holes filled.

    Args:
        data: (X, Y, Z).
        window: The range, low and high; without it, from the 2nd to the 98th percentile of the image.

    Returns:
        bool, same shape. Air that the body encloses, such as that of the lungs, is a part of it.

    Raises:
        ScanExcluded: If fewer than SMALLEST_FOREGROUND voxels are found.
    """
    low, high = window or np.percentile(data, RANGE_PERCENTILES)
    above = data > low + FOREGROUND_LEVEL * (high - low)
    parts, count = ndimage.label(above)
    sizes = np.bincount(parts.ravel(), minlength=2)[1:]
    if not count or sizes.max() < SMALLEST_FOREGROUND:
        found = int(sizes.max()) if count else 0
        where = f"`preprocessing.window` [{low:g}, {high:g}]" if window else f"the image's range, {low:g} to {high:g}"
        raise ScanExcluded(
            "foreground",
            f"the largest part above {FOREGROUND_LEVEL:.0%} of {where} has {found} voxels, expected at least "
            f"{SMALLEST_FOREGROUND}; look at the image and its units of intensity",
        )
    return without_holes(parts == 1 + int(sizes.argmax()))


def extent_mm(mask: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest coordinates (3,), in mm, of the box around a mask, to the outer faces of its voxels."""
    box = bounding_box(mask.data)
    ends = np.array([[side.start - 0.5, side.stop - 0.5] for side in box])
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    points = mask.affine[:3, :3] @ corners + mask.affine[:3, 3:]
    return points.min(axis=1), points.max(axis=1)


def fraction_outside(mask: Volume, grid: Grid, to_image: np.ndarray) -> float:
    """Return the fraction (0 to 1) of a mask's voxels whose centre lies outside of a grid's voxels.

    Args:
        mask: bool.
        grid: The grid.
        to_image: 4 x 4, world points of the grid to those of the mask.
    """
    to_index = np.linalg.inv(grid.affine) @ np.linalg.inv(to_image) @ mask.affine
    outermost = np.array(grid.shape)[:, None] - 0.5
    inside = total = 0
    for x, plane in enumerate(mask.data):
        voxels = np.nonzero(plane)
        index = to_index[:3, 1:3] @ np.array(voxels, dtype=float) + to_index[:3, :1] * x + to_index[:3, 3:]
        inside += int(((index >= -0.5) & (index <= outermost)).all(axis=0).sum())
        total += len(voxels[0])
    return 1 - inside / max(total, 1)


def scaled_by(data: np.ndarray, mask: np.ndarray, settings: ScanSettings) -> np.ndarray:
    """Return intensities from 0 to 1, float32: by the window, or by `intensity.scale_of` the foreground ``mask`` (bool).

    Voxels outside of the foreground keep their intensities.
    """
    low, high = settings.window or scale_of(data[mask], settings.intensity)
    return np.clip((data - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1).astype(np.float32)


def _nothing_visible(settings: ScanSettings) -> str:
    if settings.window:
        window = f"`preprocessing.window` {settings.window}"
        return f"no voxel on the study's grid is above the lower end of {window}; look at its units"
    return "the image is empty on the study's grid; look at it"
