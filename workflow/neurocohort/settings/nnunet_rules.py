"""The patch, the depth and the batch size of a segmentation by the rules of nnU-Net's residual encoder presets.

The rules are those of nnU-Net 2 (Isensee et al. 2021 and 2024) for a grid of isotropic voxels. Memory is counted as nnU-Net does,
in values of feature maps, with its limit for each preset. Three things differ: all axes are halved equally often, as often as the
shortest one allows; a patch never exceeds the grid; and a batch has at most `LARGEST_BATCH` patches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from neurocohort.architectures.resencunet import residual_blocks

FIRST_WIDTH, LARGEST_WIDTH = 32, 320  # channels of the first level, and of no level more
SHORTEST_EDGE = 4  # of the coarsest feature maps, voxels
LONGEST_EDGE = 256  # of a patch, voxels
SMALLEST_BATCH = 2  # the limits of the presets are for so many patches
LARGEST_BATCH = 8  # a scan gives one patch to an epoch, so that larger batches would leave small cohorts few steps
# Values of a network's feature maps for one patch, from nnU-Net's planners, which a GPU of about 10, 24 or 40 GB can train.
PRESETS = {"nnunet_m": 680_000_000, "nnunet_l": 2_100_000_000, "nnunet_xl": 3_600_000_000}


@dataclass(frozen=True)
class Plan:
    """``patch``: sides in voxels; ``channels`` of each level; ``batch_size`` in patches."""

    patch: list[int]
    channels: list[int]
    batch_size: int


def plan(shape: Sequence[int], limit: int, outputs: int) -> Plan:
    """Choose the largest patch whose feature maps stay within the limit, and fill what is left with a larger batch.

    Args:
        shape: Voxels of the grid.
        limit: Of `PRESETS`.
        outputs: Labels, background included.
    """
    patch = _divisible([min(side, LONGEST_EDGE) for side in shape])
    while (values := feature_values(patch, widths(patch), outputs)) > limit:
        patch = _smaller(patch, shape)
    return Plan(patch, widths(patch), min(max(SMALLEST_BATCH, round(SMALLEST_BATCH * limit / values)), LARGEST_BATCH))


def widths(patch: Sequence[int]) -> list[int]:
    """The channels of each level for a patch."""
    return [min(FIRST_WIDTH * 2**level, LARGEST_WIDTH) for level in range(_halvings(patch) + 1)]


def feature_values(patch: Sequence[int], channels: Sequence[int], outputs: int) -> int:
    """How many values the convolutions of a residual encoder U-Net return for one patch, as nnU-Net counts them."""
    total = channels[0] * prod(patch)  # the stem
    for level, (width, blocks) in enumerate(zip(channels, residual_blocks(len(channels)), strict=True)):
        voxels = prod(side // 2**level for side in patch)
        shortcut = 1 if level else 0  # a convolution where the grid is halved
        total += (2 * blocks + shortcut) * width * voxels
        if level < len(channels) - 1:
            total += (2 * width + outputs) * voxels  # upsampling, one convolution and the level's output
    return total


def _halvings(patch: Sequence[int]) -> int:
    edge, count = min(patch), 0
    while edge >= 2 * SHORTEST_EDGE:
        edge, count = ceil(edge / 2), count + 1
    return count


def _divisible(patch: list[int]) -> list[int]:
    """The largest patch of at most these sides that its own network can halve."""
    while True:
        step = 2 ** _halvings(patch)
        rounded = [side // step * step for side in patch]
        if rounded == patch:
            return patch
        patch = rounded


def _smaller(patch: list[int], shape: Sequence[int]) -> list[int]:
    """The next smaller patch: shorter along the axis that covers the largest fraction of the grid, the last of several such."""
    axis = max(range(len(patch)), key=lambda index: (patch[index] / shape[index], index))
    # Its own step may be longer than that of the shorter patch, and would skip some.
    shorter = patch.copy()
    shorter[axis] -= 2 ** _halvings(patch)
    patch = patch.copy()
    patch[axis] -= 2 ** _halvings(shorter)
    return _divisible(patch)
