"""Maps from the points of a grid to those of an image, affine or with a displacement, and resampling with them."""

from dataclasses import replace

import numpy as np

from neurocohort.imaging.deformable import (
    PointMap,
    displacement_determinant,
    sample_deformed,
    sample_labels_deformed,
)
from neurocohort.imaging.volume import Grid, Volume, sample, sample_labels

Mapping = np.ndarray | PointMap  # world points (RAS mm) of the grid to those of the image; the array is 4 x 4


def sample_by(image: Volume, grid: Grid, mapping: Mapping) -> Volume:
    """Resample an image by linear interpolation; outside its field of view the value is 0."""
    return sample_deformed(image, grid, mapping) if isinstance(mapping, PointMap) else sample(image, grid, mapping)


def sample_labels_by(labels: Volume, grid: Grid, mapping: Mapping) -> Volume:
    """Resample a label map: each voxel gets the label with the largest linearly interpolated fraction."""
    if isinstance(mapping, PointMap):
        return sample_labels_deformed(labels, grid, mapping)
    return sample_labels(labels, grid, mapping)


def then(mapping: Mapping, matrix: np.ndarray) -> Mapping:
    """Return ``mapping`` followed by ``matrix`` (4 x 4)."""
    return replace(mapping, after=matrix @ mapping.after) if isinstance(mapping, PointMap) else matrix @ mapping


def volume_ratio(mapping: Mapping, grid: Grid) -> np.ndarray:
    """Return the Jacobian determinant of a mapping at the points of ``grid``: the volume there per volume on the grid.

    Args:
        mapping: World points of the grid to those of an image.
        grid: The grid.

    Returns:
        (X, Y, Z) float32, at least 0. A fold, where the determinant is negative, has 0.
    """
    if not isinstance(mapping, PointMap):
        return np.full(grid.shape, _determinant(mapping), dtype=np.float32)
    change = Volume(np.empty(0), mapping.grid.affine)
    local = displacement_determinant(mapping.displacement, change.spacing_mm)
    # Beyond the displacement's grid nothing is displaced, so what is sampled is the difference from 1, which is 0 there.
    change = replace(change, data=np.maximum(local, 0) - 1)
    at_grid = sample(change, grid, mapping.before, smooth=True).data + 1
    return (_determinant(mapping.before) * _determinant(mapping.after) * at_grid).astype(np.float32)


def _determinant(matrix: np.ndarray) -> float:
    """How much an affine, 4 x 4, enlarges volumes; reflections count as positive."""
    return abs(float(np.linalg.det(matrix[:3, :3])))
