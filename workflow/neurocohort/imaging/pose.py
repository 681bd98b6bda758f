"""Rotation and stretch of a head, from the affine between template and scan: they are unusual if the header is wrong."""

import numpy as np


def pose_numbers(template_to_scan: np.ndarray) -> dict[str, float]:
    """Return two quality numbers of an affine (4 x 4) between world points (RAS mm).

    ``head_turn_degrees`` is the angle of the closest rotation, 0 to 180. ``head_stretch`` is the largest scale divided by the
    smallest, 1 or more: a wrong voxel size along one axis stretches the head.
    """
    left, scales, right = np.linalg.svd(template_to_scan[:3, :3])
    turn = left @ right
    cosine = np.clip((np.trace(turn) - 1) / 2, -1, 1)
    return {
        "head_turn_degrees": round(float(np.degrees(np.arccos(cosine))), 2),
        "head_stretch": round(float(scales[0] / scales[-1]), 4),
    }
