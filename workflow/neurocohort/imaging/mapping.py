"""A way from the points of a grid to those of an image, by a matrix alone or with a displacement: one resampling for both."""

from dataclasses import replace

import numpy as np

from neurocohort.imaging.deformable import PointMap, sample_deformed, sample_labels_deformed
from neurocohort.imaging.volume import Grid, Volume, sample, sample_labels

Mapping = (
    np.ndarray | PointMap
)  # 4 x 4, world points (RAS mm) of the grid to those of the image; or a map with a displacement


def sample_by(image: Volume, grid: Grid, mapping: Mapping) -> Volume:
    """``image`` on ``grid``, interpolated linearly once; outside the field of view the value is 0."""
    return sample_deformed(image, grid, mapping) if isinstance(mapping, PointMap) else sample(image, grid, mapping)


def sample_labels_by(labels: Volume, grid: Grid, mapping: Mapping) -> Volume:
    """A label map on ``grid``: at each voxel the label with the largest linearly interpolated share."""
    if isinstance(mapping, PointMap):
        return sample_labels_deformed(labels, grid, mapping)
    return sample_labels(labels, grid, mapping)


def then(mapping: Mapping, matrix: np.ndarray) -> Mapping:
    """``mapping`` followed by ``matrix`` (4 x 4)."""
    return replace(mapping, after=matrix @ mapping.after) if isinstance(mapping, PointMap) else matrix @ mapping
