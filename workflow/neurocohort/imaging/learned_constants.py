"""What the rules and the report need to know of `registration: learned`, without importing torch."""

from collections.abc import Mapping
from typing import Any

NETWORK = "network.safetensors"  # in results/registration/
COARSENESS = 2  # voxels of the image per voxel of the velocity, along each axis
FLOW_PASSES = (5.0, 2.5, 1.5)  # coarse voxels: deviations of the Gaussian windows in which one displacement is assumed
CORRELATION_VOXELS = 5  # side of the window of the local correlation in the refinement


def needs_network(preprocessing: Mapping[str, Any]) -> bool:
    """Whether scans are registered with a network.

    Args:
        preprocessing: The keys `preprocessing` of a study or a bundle.
    """
    return preprocessing["registration"] == "learned" and preprocessing["learned"]["steps"] > 0
