"""What becomes 0 and 1 when the intensities of a brain are scaled: in the preprocessing, and where a training paints images."""

PERCENTILES = (0.5, 99.5)
ZSCORE_LIMIT = 4.0  # standard deviations from the mean
