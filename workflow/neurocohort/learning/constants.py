"""Constants of the training that the report states too. This module imports nothing, so that the report needs no torch."""

RUN = "run.json"  # the record of a training, next to its weights
SOFT_BINS = 32  # of a regression that predicts a distribution
VALIDATION_MEMORY = (
    5  # epochs over which the criterion is averaged to choose the best one, and with `averaged` the weights
)
WINDOW_OVERLAP = 0.5  # of neighbouring windows, so that each voxel is near the middle of a window
# One cycle starts at 1/25 of its largest rate and ends at 1/250,000, like torch's OneCycleLR.
ONE_CYCLE_START = 25
CALM_MOMENTUM, FAST_MOMENTUM = 0.95, 0.85  # of one cycle; the smaller one at the largest rate
LARGEST_PAINTED_DEVIATION = 0.1  # of the texture of a painted region; mean intensities are from 0 to 1
SITE_CLASSIFIER_FEATURES = 64  # of the hidden layer of an adversarial site classifier
