"""Resample a box of a moved volume by an affine map between voxel indices.

A map is a ``matrix`` (3 x 3) and an ``offset`` (3,): the source index of output index ``o`` is matrix @ o + offset. Only gathers
and elementwise operations on one volume are used, so that the result has the same bits for any number of threads and in any
batch.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

# A coordinate along an axis: shape of the output, coefficients of its three indices, start, and length of the axis.
Coordinates = tuple[tuple[int, ...], tuple[float, ...], float, int]
STEEP = 0.7  # cosine of the largest angle at which slices across the first axis are used


def source_box(
    matrix: np.ndarray, offset: np.ndarray, size: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """The part of a source of ``shape`` on which an output of ``size`` voxels depends; at least one voxel."""
    corners = np.stack(np.meshgrid(*[(0, side - 1) for side in size], indexing="ij")).reshape(3, -1)
    reached = matrix @ corners + offset[:, None]
    first, last = np.floor(reached.min(axis=1)).astype(int) - 1, np.ceil(reached.max(axis=1)).astype(int) + 2
    box = []
    for low, high, side in zip(first, last, shape, strict=True):
        low = min(max(low, 0), side - 1)
        box.append(slice(int(low), int(min(max(high, low + 1), side))))
    return tuple(box)


def resample(volume: torch.Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, ...]) -> torch.Tensor:
    """Move ``volume`` (C, X, Y, Z) float32 with linear interpolation: (C, *size), 0 outside of the volume.

    In two passes, since interpolation in planes is many times faster than in 3D: first every slice of the source is resampled
    in its plane at the points where the output's lines cross it (after Catmull and Smith 1980), then along these lines.
    """
    source, target = (0, 0) if abs(matrix[0, 0]) > STEEP else np.unravel_index(np.abs(matrix).argmax(), (3, 3))
    source_order, target_order = ([first, *(axis for axis in range(3) if axis != first)] for first in (source, target))
    map_, start = matrix[np.ix_(source_order, target_order)], offset[source_order]
    along, height, width = (size[axis] for axis in target_order)

    slope = map_[1:, 0] / map_[0, 0]  # in-plane steps from one slice to the next along a line of the output
    in_plane, in_plane_start = map_[1:, 1:] - np.outer(slope, map_[0, 1:]), start[1:] - slope * start[0]
    slices = volume.permute(1 + source_order[0], 0, *(1 + axis for axis in source_order[1:]))
    count, _, *sides = slices.shape
    coordinates = [
        ((count, height, width), (slope[axis], *in_plane[axis]), in_plane_start[axis], sides[axis]) for axis in (1, 0)
    ]
    crossed = _sample_planes(slices, coordinates)

    lines = crossed.permute(2, 1, 0, 3)  # (height, C, count, width)
    coordinates = [
        ((height, along, width), (0.0, 0.0, 1.0), 0.0, width),
        ((height, along, width), (map_[0, 1], map_[0, 0], map_[0, 2]), start[0], count),
    ]
    moved = _sample_planes(lines, coordinates).permute(1, 2, 0, 3)  # (C, along, height, width)
    return moved.permute(0, *(1 + target_order.index(axis) for axis in range(3)))


def resample_labels(
    labels: torch.Tensor, matrix: np.ndarray, offset: np.ndarray, size: tuple[int, ...]
) -> torch.Tensor:
    """Move ``labels`` (X, Y, Z) uint8 with nearest-neighbour interpolation: (*size), 0 outside of the volume."""
    index = torch.zeros(size, dtype=torch.int32, device=labels.device)
    inside = torch.ones(size, dtype=torch.bool, device=labels.device)
    for axis, side in enumerate(labels.shape):
        nearest = _affine(size, matrix[axis], offset[axis], labels.device).round_().to(torch.int32)
        inside &= (nearest >= 0) & (nearest < side)
        index = index.mul_(side).add_(nearest.clamp_(0, side - 1))
    return labels.flatten().index_select(0, index.flatten()).view(size).mul_(inside)


def resample_bent(
    volume: torch.Tensor, matrix: np.ndarray, offset: np.ndarray, bend: torch.Tensor, *, nearest: bool = False
) -> torch.Tensor:
    """Move ``volume`` (C, X, Y, Z) by the map plus the displacements ``bend``, in voxels of the source.

    Args:
        volume: The source; uint8 or float32.
        matrix: See the module.
        offset: See the module.
        bend: (3, *size), added to the source index of each voxel of the output.
        nearest: Nearest neighbours, as for labels; else linear interpolation.

    Returns:
        (C, *size) in the type of ``volume``, 0 outside of it.
    """
    size, shape = tuple(bend.shape[1:]), volume.shape[1:]
    grid = torch.empty((*size, 3), dtype=torch.float32, device=volume.device)
    for axis, side in enumerate(shape):
        index = _affine(size, matrix[axis], offset[axis], volume.device).add_(bend[axis])
        grid[..., 2 - axis] = index.mul_(2 / side).add_(1 / side - 1)  # grid_sample has the last axis first
    found = functional.grid_sample(
        volume.float()[None], grid[None], mode="nearest" if nearest else "bilinear", align_corners=False
    )[0]
    return found.to(volume.dtype)


def _sample_planes(planes: torch.Tensor, coordinates: Sequence[Coordinates]) -> torch.Tensor:
    """Sample ``planes`` (N, C, H, W) at coordinates along W and along H."""
    shape = coordinates[0][0]
    grid = torch.empty((*shape, 2), dtype=torch.float32, device=planes.device)
    for place, (_, coefficients, start, side) in enumerate(coordinates):
        # grid_sample counts from -1 to 1, from the outer edge of the first voxel to that of the last
        scaled = [2 * value / side for value in coefficients]
        _affine(shape, scaled, (2 * start + 1) / side - 1, planes.device, out=grid[..., place])
    return functional.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _affine(
    shape: tuple[int, ...],
    coefficients: list[float],
    start: float,
    device: torch.device,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """``start`` plus the sum of coefficient * index over the three axes of ``shape``, float32."""
    first, second, third = (
        torch.arange(side, dtype=torch.float32, device=device).mul_(float(coefficient))
        for side, coefficient in zip(shape, coefficients, strict=True)
    )
    return torch.add(first[:, None, None] + second[:, None] + float(start), third, out=out)
