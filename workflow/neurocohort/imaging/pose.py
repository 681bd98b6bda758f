"""How a head lies and how large it is, from the affine between template and scan: a wrong header shows here."""

import numpy as np


def pose_numbers(template_to_scan: np.ndarray) -> dict[str, float]:
    """``head_turn_degrees`` and ``head_stretch``, from a 4 x 4 affine between world points (RAS mm).

    ``head_turn_degrees``: angle of the rotation that is nearest to the affine, 0 to 180. ``head_stretch``: its largest scale
    over its smallest, 1 or more: a voxel size that is wrong along one axis stretches the head along it.
    """
    left, scales, right = np.linalg.svd(template_to_scan[:3, :3])
    turn = left @ right
    cosine = np.clip((np.trace(turn) - 1) / 2, -1, 1)
    return {
        "head_turn_degrees": round(float(np.degrees(np.arccos(cosine))), 2),
        "head_stretch": round(float(scales[0] / scales[-1]), 4),
    }
