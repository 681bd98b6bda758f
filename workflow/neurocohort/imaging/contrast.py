"""Check that a registered brain is T1-weighted: CSF is darker than grey matter, and grey matter darker than white matter.

The template's tissue maps give the expected place of each tissue. Means over a whole tissue are insensitive to the fit of single
gyri. Only T1-weighted images have this order: in T2, FLAIR and PD grey matter is brighter than white matter.
"""

import numpy as np

RANGE_PERCENTILES = (1, 99)
SURENESS = 4  # voxels are weighted by this power of the tissue's probability: mixed voxels hardly count


def tissue_contrast(registered: np.ndarray, mask: np.ndarray, tissues: np.ndarray) -> dict[str, float]:
    """Return two differences of tissue means, which are positive in a T1-weighted image.

    Args:
        registered: Bias-corrected brain on the template's grid.
        mask: bool, its brain mask.
        tissues: The template's probabilities of CSF, GM and WM, (3, X, Y, Z).

    Returns:
        ``contrast_gm_csf`` (GM less CSF) and ``contrast_wm_gm`` (WM less GM), as fractions of the brain's range of intensities
        (1st to 99th percentile), -1 to 1. They don't depend on the image's offset and scale.
    """
    inside = registered[mask].astype(np.float64)
    weights = tissues[:, mask].astype(np.float64) ** SURENESS
    csf, gm, wm = (weights @ inside) / np.maximum(weights.sum(axis=1), np.finfo(float).tiny)
    low, high = np.percentile(inside, RANGE_PERCENTILES)
    extent = max(high - low, np.finfo(float).tiny)
    return {
        "contrast_gm_csf": round(float((gm - csf) / extent), 5),
        "contrast_wm_gm": round(float((wm - gm) / extent), 5),
    }
