"""Refinement of a velocity: gradient steps on the local correlation of the template and the warped brain, with MONAI's loss.

Each step smooths the gradient and adds it to the velocity, as log-demons do (Vercauteren et al. 2008). Only the warp and the loss
are differentiated, which takes a third of the time of differentiating the integration too.
"""

import torch
from torch.nn import functional

from neurocohort.imaging.learned_constants import COARSENESS, CORRELATION_VOXELS
from neurocohort.imaging.velocity import (
    Frame,
    displacement_of,
    filtered,
    gaussian_response,
    to_image_grid,
    warped,
)

RATE = 0.25  # coarse voxels per unit of the gradient
MOMENTUM = 0.8
LARGEST_STEP = 0.5  # coarse voxels
STEP_SMOOTHING = 1.0  # coarse voxels, of the gradient
VELOCITY_SMOOTHING = 0.4  # coarse voxels, of the velocity after each step
MASK_DILATION_VOXELS = 2  # without the brain's edge the masks overlap less


def refined(velocity: torch.Tensor, frame: Frame, moving: torch.Tensor, steps: int) -> torch.Tensor:
    """Return the velocity after some steps.

    Args:
        velocity: From the template to ``moving``, (B, 3, X/2, Y/2, Z/2), in coarse voxels.
        frame: The template's.
        moving: Brains on the frame's grid, scaled, (B, 1, X, Y, Z).
        steps: Number of steps.
    """
    if steps == 0:
        return velocity
    from monai.losses import LocalNormalizedCrossCorrelationLoss

    loss = LocalNormalizedCrossCorrelationLoss(kernel_size=CORRELATION_VOXELS, reduction="none")
    side = 2 * MASK_DILATION_VOXELS + 1
    mask = functional.max_pool3d(frame.fixed_mask, side, stride=1, padding=MASK_DILATION_VOXELS)
    fixed = frame.fixed.expand_as(moving)
    of_step, of_velocity = (
        gaussian_response(velocity.shape[2:], sigma).to(velocity.device)
        for sigma in (STEP_SMOOTHING, VELOCITY_SMOOTHING)
    )
    step = torch.zeros_like(velocity)
    for _ in range(steps):
        displacement = to_image_grid(displacement_of(velocity)).requires_grad_()
        with torch.enable_grad():
            total = (loss(warped(moving, displacement), fixed) * mask).sum()
            (gradient,) = torch.autograd.grad(total, displacement)
        # A coarse voxel of displacement is COARSENESS voxels of the image.
        gradient = functional.avg_pool3d(gradient, COARSENESS) * COARSENESS
        step = MOMENTUM * step - RATE * filtered(gradient, of_step)
        length = step.square().sum(dim=1, keepdim=True).sqrt()
        step = step * (LARGEST_STEP / length.clamp(min=LARGEST_STEP))
        velocity = filtered(velocity + step, of_velocity) * frame.ramp
    return velocity
