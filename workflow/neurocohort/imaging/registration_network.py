"""The network that predicts the velocity from the template to a brain: VoxelMorph's form (Balakrishnan et al. 2019), by MONAI.

It corrects the optical flow between the two images, and computes on the coarse grid: the eight voxels of an image in each coarse
voxel are channels of their own. So a thousand steps of training have an effect, and it takes half a second on a core.
"""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional

from neurocohort.errors import InputError
from neurocohort.files import written_aside
from neurocohort.imaging.learned_constants import COARSENESS
from neurocohort.imaging.optical_flow import flow_velocity, optical_flow
from neurocohort.imaging.velocity import Frame, displacement_of, to_image_grid, warped

CHANNELS = (16, 16, 32, 32, 64, 64)  # down and up, of each level, from the finest
REMAINING_SCALES = (1.2, 2.5)  # of the flow that is left, which is an input; coarse voxels
OUTPUT_CHANNELS = 16  # before the last convolution


def registration_network() -> nn.Module:
    """Return an untrained network, whose correction is 0. Its weights come from torch's generator."""
    from monai.networks.nets import VoxelMorphUNet

    network = VoxelMorphUNet(3, 2 * COARSENESS**3 + 3 * (1 + len(REMAINING_SCALES)) + 1, OUTPUT_CHANNELS, CHANNELS, ())
    last = [module for module in network.modules() if isinstance(module, nn.Conv3d)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return network


def predicted_velocity(network: nn.Module | None, frame: Frame, moving: torch.Tensor) -> torch.Tensor:
    """Return the velocity from the template to ``moving``, (B, 3, X/2, Y/2, Z/2), in coarse voxels.

    Args:
        network: The network; without one, the velocity is that of the optical flow.
        frame: The template's.
        moving: Brains on the frame's grid, as `velocity.scaled` scales them, (B, 1, X, Y, Z).
    """
    velocity = flow_velocity(frame, moving)
    return velocity if network is None else velocity + correction(network, frame, moving, velocity)


def correction(network: nn.Module, frame: Frame, moving: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
    """Return what the network adds to the velocity of the optical flow."""
    moved = warped(moving, to_image_grid(displacement_of(velocity)))
    fixed, mask = (image.expand_as(moving) for image in (frame.fixed, frame.fixed_mask))
    remaining = optical_flow(frame, moved, REMAINING_SCALES)
    inputs = [_unshuffled(moved), _unshuffled(fixed), velocity, *remaining, functional.avg_pool3d(mask, COARSENESS)]
    return network(torch.cat(inputs, dim=1)) * frame.ramp


def write_network(path: Path, network: nn.Module) -> None:
    """Write the network's weights."""
    with written_aside(path) as aside:
        aside.write_bytes(save({name: value.cpu() for name, value in network.state_dict().items()}))


def read_network(path: Path | None, device: torch.device) -> nn.Module:
    """Read a network for inference.

    Raises:
        InputError: If the file is missing, or has no weights of this network.
    """
    if path is None or not path.is_file():
        raise InputError(f"The registration network, {path}, is not there; run the workflow again to train it.")
    network = registration_network()
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{path} can't be read as the weights of the registration network ({first.rstrip('.: ')}). Delete it and run again "
            "to train the network again."
        ) from error
    return network.to(device).eval()


def _unshuffled(image: torch.Tensor) -> torch.Tensor:
    """(B, 1, X, Y, Z) to (B, 8, X/2, Y/2, Z/2)."""
    batch, _, x, y, z = image.shape
    parts = image.view(batch, x // 2, 2, y // 2, 2, z // 2, 2).permute(0, 2, 4, 6, 1, 3, 5)
    return parts.reshape(batch, COARSENESS**3, x // 2, y // 2, z // 2)
