"""Overlap of two masks."""

import numpy as np


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Dice overlap of two bool arrays, 0 to 1 (1 if both are empty)."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 1.0 if total == 0 else 2.0 * int(np.count_nonzero(a & b)) / total
