"""Intensities on one scale for all scans: inside the brain mask alone, by statistics that a bright vessel can't move."""

import numpy as np
from scipy import ndimage

PERCENTILES = (0.5, 99.5)
ZSCORE_LIMIT = 4.0
WHITE_MATTER_LEVEL = 0.75  # where the peak of white matter comes to lie
PEAK_BINS = 200


def normalise(data: np.ndarray, mask: np.ndarray, method: str, white_matter: np.ndarray) -> np.ndarray:
    """Scale ``data`` inside ``mask`` (bool) to 0..1 as float32; 0 outside. ``white_matter``: bool, the template's.

    ``percentile``: the 0.5th and 99.5th percentiles become 0 and 1. ``zscore``: mean 0 and standard deviation 1, clipped at
    four standard deviations, which become 0 and 1 (so 0.5 is the mean). ``white_matter_peak``: the commonest intensity of white
    matter becomes 0.75, and 0 stays 0. All are clipped to the range, so that the packed
    cohort can hold them in eight bits.
    """
    inside = data[mask].astype(np.float64)
    if method == "percentile":
        low, high = np.percentile(inside, PERCENTILES)
    elif method == "zscore":
        low, high = (inside.mean() + side * ZSCORE_LIMIT * inside.std() for side in (-1, 1))
    elif method == "white_matter_peak":
        low, high = 0.0, _peak(data[mask & white_matter]) / WHITE_MATTER_LEVEL
    else:
        raise ValueError(f"unknown intensity method {method}")
    scaled = np.clip((data - low) / max(high - low, 1e-6), 0.0, 1.0)
    return np.where(mask, scaled, 0.0).astype(np.float32)


def _peak(values: np.ndarray) -> float:
    """The mode of ``values`` (n,): the middle of the fullest bin of a smoothed histogram between its outer percentiles."""
    low, high = np.percentile(values, PERCENTILES)
    counts, edges = np.histogram(values, bins=PEAK_BINS, range=(low, max(high, low + 1e-6)))
    fullest = int(np.argmax(ndimage.gaussian_filter1d(counts.astype(float), PEAK_BINS / 25)))
    return float(edges[fullest : fullest + 2].mean())
