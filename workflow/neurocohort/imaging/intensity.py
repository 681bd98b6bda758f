"""Scale intensities inside the brain mask, so that all scans are comparable, by statistics that are robust to bright vessels."""

import numpy as np
from scipy import ndimage

from neurocohort.intensity_ranges import PERCENTILES, ZSCORE_LIMIT

WHITE_MATTER_LEVEL = 0.75  # of the peak of white matter
PEAK_BINS = 200


def normalise(data: np.ndarray, mask: np.ndarray, method: str, white_matter: np.ndarray) -> np.ndarray:
    """Scale the intensities of a brain to 0 to 1, and clip them, so that packs can store eight bits.

    Args:
        data: Intensities on the study's grid.
        mask: Brain mask, bool.
        method: ``percentile``: the 0.5th and 99.5th percentiles become 0 and 1. ``zscore``: four standard deviations below and
            above the mean become 0 and 1. ``white_matter_peak``: 0 remains 0, and the most frequent intensity of white matter
            becomes 0.75.
        white_matter: The template's white matter, bool.

    Returns:
        float32; 0 outside the mask.
    """
    if method == "white_matter_peak":
        low, high = 0.0, _peak(data[mask & white_matter]) / WHITE_MATTER_LEVEL
    else:
        low, high = scale_of(data[mask], method)
    scaled = np.clip((data - low) / max(high - low, 1e-6), 0.0, 1.0)
    return np.where(mask, scaled, 0.0).astype(np.float32)


def scale_of(inside: np.ndarray, method: str) -> tuple[float, float]:
    """Return the intensities that become 0 and 1.

    Args:
        inside: Intensities, (n,).
        method: ``percentile`` or ``zscore``; see `normalise`.
    """
    values = inside.astype(np.float64)
    if method == "percentile":
        low, high = np.percentile(values, PERCENTILES)
    elif method == "zscore":
        low, high = (values.mean() + side * ZSCORE_LIMIT * values.std() for side in (-1, 1))
    else:
        raise ValueError(f"unknown intensity method {method}")
    return low, high


def _peak(values: np.ndarray) -> float:
    """The mode of ``values`` (n,): the middle of the largest bin of a smoothed histogram between PERCENTILES."""
    low, high = np.percentile(values, PERCENTILES)
    counts, edges = np.histogram(values, bins=PEAK_BINS, range=(low, max(high, low + 1e-6)))
    largest = int(np.argmax(ndimage.gaussian_filter1d(counts.astype(float), PEAK_BINS / 25)))
    return float(edges[largest : largest + 2].mean())
