"""Deformable registration without greedy: optical flow, a network that corrects it, and a refinement, after the affine.

The result is the deformation of a stationary velocity, so the displacement of its negative is the inverse.
"""

from pathlib import Path

import numpy as np
import torch

from neurocohort.imaging.deformable import Deformation, deformation_of, rounded
from neurocohort.imaging.refinement import refined
from neurocohort.imaging.registration_network import predicted_velocity, read_network
from neurocohort.imaging.velocity import Frame, displacement_of, frame_of, scaled, to_image_grid
from neurocohort.imaging.volume import Volume, sample
from neurocohort.settings.scan import LearnedRegistration


def register_learned(
    template: tuple[Volume, np.ndarray],
    scan: tuple[Volume, np.ndarray],
    affine: np.ndarray,
    settings: LearnedRegistration,
    network: Path | None,
    device: str = "cpu",
) -> Deformation:
    """Register a brain to the template; on the CPU with one thread, equal inputs give equal results.

    Args:
        template: Its brain, on a grid along the world's axes, and its mask, bool.
        scan: The brain, on any grid, and its mask, bool.
        affine: 4 x 4, world points (RAS mm) of the template to those of the scan, from register_affine.
        settings: Without ``steps``, no network is used.
        network: The weights of the network.
        device: ``cpu`` or ``cuda``.

    Returns:
        The deformation; check_deformation decides whether it is good.

    Raises:
        InputError: If the network's file is missing or can't be read.
    """
    on = torch.device(device)
    frame = frame_of(*template).on(on)
    loaded = read_network(network, on) if settings.steps else None
    with torch.no_grad(), torch.backends.cudnn.flags(deterministic=True, allow_tf32=False):
        moving = moving_image(frame, *scan, affine)
        velocity = predicted_velocity(loaded, frame, moving)
        velocity = refined(velocity, frame, moving, settings.refinement_steps)
        forward, inverse = (_millimetres(frame, sign * velocity) for sign in (1, -1))
    fixed_mask = Volume(frame.fixed_mask[0, 0].cpu().numpy() > 0.5, frame.grid.affine)
    return deformation_of(forward, inverse, fixed_mask, Volume(scan[1], scan[0].affine), affine)


def moving_image(frame: Frame, image: Volume, mask: np.ndarray, affine: np.ndarray) -> torch.Tensor:
    """Return a brain after the affine on the frame's grid, scaled, (1, 1, X, Y, Z), on the frame's device."""
    brain = sample(Volume(image.data * mask, image.affine), frame.grid, affine, smooth=True).data
    inside = sample(Volume(mask, image.affine), frame.grid, affine).data > 0.5
    tensors = (torch.from_numpy(np.ascontiguousarray(one, dtype=np.float32)) for one in (brain, inside))
    return scaled(*(one[None, None].to(frame.fixed.device) for one in tensors))


def _millimetres(frame: Frame, velocity: torch.Tensor) -> np.ndarray:
    """The displacement of a velocity on the frame's grid, (X, Y, Z, 3), RAS mm."""
    voxels = to_image_grid(displacement_of(velocity))[0].permute(1, 2, 3, 0).cpu().numpy()
    return rounded(voxels.astype(np.float64) * frame.spacing_mm)
