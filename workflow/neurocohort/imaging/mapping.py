"""Maps from the points of a grid to those of an image, affine or with a displacement, and resampling with them."""

from dataclasses import replace

import numpy as np

from neurocohort.imaging.deformable import PointMap, sample_deformed, sample_labels_deformed
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
