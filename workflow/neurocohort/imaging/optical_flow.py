"""The optical flow between two brains (Lucas and Kanade 1981): the displacement that explains their difference to first order.

It is computed on copies whose local mean is 0 and whose local deviation is 1, so it doesn't depend on contrast or bias. Some
passes from coarse to fine, each on the image warped by those before, are as accurate as greedy where the truth is known, and take
less than half a second (docs/learned_registration.md).
"""

from collections.abc import Sequence

import torch
from torch.nn import functional

from neurocohort.imaging.learned_constants import COARSENESS, FLOW_PASSES
from neurocohort.imaging.velocity import (
    Frame,
    displacement_of,
    filtered,
    gaussian_response,
    to_image_grid,
    warped,
)

LOCAL_VOXELS = 5  # side of the window of the local mean and deviation
SMALLEST_DEVIATION = 0.03  # added to the local deviation, so that noise outside of the brain stays small
DAMPING = 0.003  # added to the diagonal of the structure tensor
LARGEST = 4.0  # coarse voxels
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def flow_velocity(frame: Frame, moving: torch.Tensor) -> torch.Tensor:
    """Return the velocity from the template to ``moving`` by the flow in FLOW_PASSES, (B, 3, X/2, Y/2, Z/2), in coarse voxels.

    Each pass adds its flow to the velocity, which is exact for small displacements and good enough for the next pass.
    """
    velocity = optical_flow(frame, moving, FLOW_PASSES[:1])[0]
    for scale in FLOW_PASSES[1:]:
        velocity = velocity + optical_flow(frame, warped(moving, to_image_grid(displacement_of(velocity))), [scale])[0]
    return velocity


def optical_flow(frame: Frame, moving: torch.Tensor, scales: Sequence[float]) -> list[torch.Tensor]:
    """Return the displacement from the template to ``moving`` at each scale, (B, 3, X/2, Y/2, Z/2), in coarse voxels.

    Args:
        frame: The template's.
        moving: Brains on the frame's grid, scaled, (B, 1, X, Y, Z).
        scales: Deviations of the windows, coarse voxels.
    """
    fixed, other = (standardised(functional.avg_pool3d(image, COARSENESS)) for image in (frame.fixed, moving))
    inside = (functional.avg_pool3d(frame.fixed_mask, COARSENESS) > 0.3).float()
    gradient = (_gradient(fixed) + _gradient(other)) / 2 * inside
    products = torch.cat([gradient[:, i : i + 1] * gradient[:, j : j + 1] for i, j in PAIRS], dim=1)
    difference = gradient * (fixed - other)
    found = []
    for scale in scales:
        response = gaussian_response(difference.shape[2:], scale).to(difference.device)
        flow = _solved(filtered(products, response), filtered(difference, response))
        found.append(flow.clamp(-LARGEST, LARGEST) * frame.ramp)
    return found


def standardised(image: torch.Tensor) -> torch.Tensor:
    """Return an image (B, 1, X, Y, Z) less its local mean and divided by its local deviation."""
    mean, square = (_local_mean(values) for values in (image, image * image))
    deviation = (square - mean * mean).clamp(min=0).sqrt()
    return (image - mean) / (deviation + SMALLEST_DEVIATION)


def _local_mean(image: torch.Tensor) -> torch.Tensor:
    for axis in range(3):
        window, padding = [1, 1, 1], [0, 0, 0]
        window[axis], padding[axis] = LOCAL_VOXELS, LOCAL_VOXELS // 2
        image = functional.avg_pool3d(image, window, stride=1, padding=padding)
    return image


def _gradient(image: torch.Tensor) -> torch.Tensor:
    """Central differences, (B, 3, X, Y, Z)."""
    return torch.cat([torch.gradient(image, dim=axis)[0] for axis in (2, 3, 4)], dim=1)


def _solved(tensor: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Solve the symmetric 3 x 3 equations of each voxel; ``tensor`` has the six entries in the order of PAIRS."""
    xx, yy, zz, xy, xz, yz = tensor.unbind(dim=1)
    xx, yy, zz = xx + DAMPING, yy + DAMPING, zz + DAMPING
    minors = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    others = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    determinant = xx * minors[0] + xy * minors[1] + xz * minors[2]
    a, b, c = right.unbind(dim=1)
    rows = (
        minors[0] * a + minors[1] * b + minors[2] * c,
        minors[1] * a + others[0] * b + others[1] * c,
        minors[2] * a + others[1] * b + others[2] * c,
    )
    return torch.stack(rows, dim=1) / determinant[:, None]
