"""Intensities on one scale for all scans: inside the brain mask alone, by statistics that a bright vessel can't move."""

import numpy as np

PERCENTILES = (0.5, 99.5)
ZSCORE_LIMIT = 4.0


def normalise(data: np.ndarray, mask: np.ndarray, method: str) -> np.ndarray:
    """Scale ``data`` inside ``mask`` (bool) to 0..1 as float32; 0 outside.

    ``percentile``: the 0.5th and 99.5th percentiles become 0 and 1. ``zscore``: mean 0 and standard deviation 1, clipped at
    four standard deviations, which become 0 and 1 (so 0.5 is the mean). Both are clipped to the range, so that the packed
    cohort can hold them in eight bits.
    """
    inside = data[mask].astype(np.float64)
    if method == "percentile":
        low, high = np.percentile(inside, PERCENTILES)
    elif method == "zscore":
        low, high = (inside.mean() + side * ZSCORE_LIMIT * inside.std() for side in (-1, 1))
    else:
        raise ValueError(f"unknown intensity method {method}")
    scaled = np.clip((data - low) / max(high - low, 1e-6), 0.0, 1.0)
    return np.where(mask, scaled, 0.0).astype(np.float32)
