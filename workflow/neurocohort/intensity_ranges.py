"""What becomes 0 and 1 when the intensities of a brain are scaled: for the preprocessing, and for images that a training paints."""

PERCENTILES = (0.5, 99.5)
ZSCORE_LIMIT = 4.0  # standard deviations from the mean
