"""The published weights that a training can start from, and what its configuration must be for them.

This module imports no torch, since every Snakemake process imports it.
"""

import math
from collections.abc import Sequence

PUBLISHED = "sfcn_ukb"  # the value of `transfer.weights`, and the name of the source's table
PUBLISHED_ENDING = ".p"  # of the file, which take_weights doesn't read
NETWORK = "sfcn"
SHAPE, SPACING_MM = (160, 192, 160), 1.0  # of its input
TRAINING_SCANS = 12949
IMAGE_MM3 = (
    182 * 218 * 182
)  # of the images over which the mean intensity was computed, before they were cropped to SHAPE


def grid_fraction(shape: Sequence[int], spacing_mm: float) -> float:
    """The volume of a study's grid as a fraction of that of the images that the intensities were scaled by."""
    return math.prod(shape) * spacing_mm**3 / IMAGE_MM3
