"""Constants of the training that the report states as well. This module imports nothing, so that the report needs no torch."""

SOFT_BINS = 32  # of a number that is predicted as a distribution
VALIDATION_MEMORY = 5  # epochs over which the criterion is averaged when the best is chosen, and weights where they are
WINDOW_OVERLAP = 0.5  # of neighbouring windows: each voxel away from the border is near the middle of one of them
# One cycle starts at the 25th part of its largest rate and ends at the 250,000th, as torch's OneCycleLR does.
ONE_CYCLE_START = 25
CALM_MOMENTUM, FAST_MOMENTUM = 0.95, 0.85  # of one cycle: the smaller one where the rate is largest
