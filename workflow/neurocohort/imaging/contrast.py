"""Whether a registered brain looks like a T1-weighted one: CSF darker than grey matter, grey matter darker than white.

The template's tissue maps say where each tissue is expected. Means over a whole tissue are insensitive to how well single
gyri fit, and the order of the three is that of T1-weighted contrast alone: T2, FLAIR and PD have grey matter above white.
"""

import numpy as np

RANGE_PERCENTILES = (1, 99)
SURENESS = 4  # power of a tissue's probability that weighs its voxels: a voxel of mixed tissue hardly counts


def tissue_contrast(registered: np.ndarray, mask: np.ndarray, tissues: np.ndarray) -> dict[str, float]:
    """Two differences of tissue means, as fractions of the brain's range of intensities (1st to 99th percentile), -1 to 1.

    ``registered``: bias-corrected brain on the template's grid; ``mask``: bool, its brain there; ``tissues``: (3, X, Y, Z), the
    template's probabilities of CSF, GM and WM. ``contrast_gm_csf`` is GM less CSF, ``contrast_wm_gm`` WM less GM; both are
    positive in a T1-weighted image, and neither depends on the image's offset and scale.
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
