"""Affine registration of a batch of brains at once, with torch and MONAI's mutual information, on a CPU or a GPU.

As accurate as `registration.register_affine`. On one core it takes longer; on a GPU all starts of all brains cost one launch of
each step. The result of a brain doesn't depend on the others of its batch, except in the last bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import grid_sample

from neurocohort.imaging.registration import (
    HISTOGRAM_BINS,
    MIDDLE_MM,
    START_MM,
    Registration,
    centre_of,
    coarser,
    judged,
    starts_of,
)
from neurocohort.imaging.volume import Volume

Brain = tuple[Volume, np.ndarray]  # an image, 0 outside its mask, on a grid along the world's axes; and the mask, bool
RADIUS_MM = 60.0  # of a head: a parameter of 1 moves its surface by 1 mm
MOST_POINTS = 20_000  # of the fixed image in one search
BRIGHTEST_PERCENTILE = 99.5
SIMILARITY, AFFINE = 7, 12  # degrees of freedom: translation, rotation, scale (one or three), shear
BETAS = (0.8, 0.95)  # of Adam; few steps need a short memory
LAST_STEP_MM = 0.01


@dataclass(frozen=True)
class Level:
    """One search: spacing of the images (None for their own), distance of the outermost points from the edge of the fixed mask
    (negative: inside), first step in mm, steps, freedom."""

    spacing_mm: float | None
    margin_mm: float
    step_mm: float
    steps: int
    freedom: int


EDGE_MM = 6.0  # of the fixed mask: points around it show the brain's edge
START_LEVEL = Level(START_MM, EDGE_MM, 3.0, 25, SIMILARITY)
MIDDLE_LEVEL = Level(MIDDLE_MM, EDGE_MM, 1.5, 40, AFFINE)
# As in `registration`, the result is the mean of a search with the brain's edge and one of the inner brain.
LAST_LEVELS = Level(None, EDGE_MM, 0.4, 40, AFFINE), Level(None, -2.0, 0.4, 40, AFFINE)


@dataclass(frozen=True)
class _Fixed:
    """Points of the fixed image.

    Attributes:
        points: (n, 3) float64, RAS mm.
        values: (1, n) float32, 0 to 1.
        centre: (3,) float64, the middle of the brain.
    """

    points: torch.Tensor
    values: torch.Tensor
    centre: torch.Tensor


@dataclass(frozen=True)
class _Moving:
    """Images of one size, padded with 0.

    Attributes:
        images: (B, 1, X, Y, Z) float32, 0 to 1.
        from_world: (B, 4, 4) float64, RAS mm to the coordinates of `grid_sample`.
    """

    images: torch.Tensor
    from_world: torch.Tensor

    def repeated(self, times: int) -> "_Moving":
        return _Moving(self.images.repeat_interleave(times, 0), self.from_world.repeat_interleave(times, 0))


def register_affine_batch(
    fixed: Volume,
    fixed_mask: np.ndarray,
    brains: Sequence[Brain],
    *,
    seed: int,
    min_dice: float,
    min_mutual_information: float,
    device: str = "cpu",
) -> list[Registration]:
    """Register each of ``brains`` to the brain ``fixed``; arguments and limits are those of `register_affine`.

    The seven starts of all brains are searched together. The best of each is refined; then, together again, the next best of
    those whose result is beyond a limit.

    Args:
        fixed: 0 outside its mask, on a grid along the world's axes.
        fixed_mask: bool.
        brains: The moving brains.
        seed: Seed of the sampled points.
        min_dice: Enough overlap of the masks, 0 to 1.
        min_mutual_information: Enough information in nats.
        device: A torch device.

    Returns:
        A registration for each brain, the one with the most mutual information.
    """
    starts = torch.tensor(np.array([list(starts_of(fixed, fixed_mask, *brain)) for brain in brains]), device=device)
    count = starts.shape[1]
    fixed_points = _fixed_points(fixed, fixed_mask, START_LEVEL, seed, device)
    moving = _moving([image for image, _ in brains], START_LEVEL, device).repeated(count)
    begun = torch.zeros(len(brains) * count, AFFINE, dtype=torch.float64, device=device)
    begun, information = _search(begun, starts.flatten(0, 1), moving, fixed_points, START_LEVEL)
    begun, order = begun.unflatten(0, (-1, count)), information.unflatten(0, (-1, count)).argsort(1, descending=True)

    found: list[list[Registration]] = [[] for _ in brains]
    waiting = list(range(len(brains)))
    for place in range(count):
        chosen = [int(order[brain, place]) for brain in waiting]
        some = [brains[brain] for brain in waiting]
        matrices = _refined(begun[waiting, chosen], starts[waiting, chosen], (fixed, fixed_mask), some, seed)
        for brain, matrix in zip(waiting, matrices, strict=True):
            result = judged(matrix, fixed, fixed_mask, *brains[brain], starts=place + 1)
            found[brain].append(result)
        best = [max(results, key=lambda one: one.mutual_information) for results in found]
        waiting = [
            brain
            for brain in waiting
            if best[brain].mask_dice < min_dice or best[brain].mutual_information < min_mutual_information
        ]
        if not waiting:
            break
    return best


def _refined(begun: torch.Tensor, starts: torch.Tensor, fixed: Brain, brains: Sequence[Brain], seed: int) -> np.ndarray:
    """The matrices (B, 4, 4), RAS mm, from the parameters ``begun`` (B, 12) on ``starts`` (B, 4, 4), through all levels."""

    def refined(begun: torch.Tensor, level: Level) -> torch.Tensor:
        points = _fixed_points(*fixed, level, seed, begun.device)
        return _search(begun, starts, _moving([image for image, _ in brains], level, begun.device), points, level)[0]

    middle = refined(begun, MIDDLE_LEVEL)
    centre = torch.tensor(centre_of(*fixed), device=begun.device)
    ends = [_matrices(refined(middle, level), starts, centre) for level in LAST_LEVELS]
    return torch.stack(ends).mean(0).cpu().numpy()


def _fixed_points(fixed: Volume, mask: np.ndarray, level: Level, seed: int, device: torch.device | str) -> _Fixed:
    image, near = fixed, Volume(mask, fixed.affine)
    if level.spacing_mm:
        image, near = coarser(fixed, level.spacing_mm), coarser(near, level.spacing_mm)
    spacing_mm = float(image.spacing_mm.max())
    steps = int(np.ceil(abs(level.margin_mm) / spacing_mm))
    change = ndimage.binary_dilation if level.margin_mm > 0 else ndimage.binary_erosion
    voxels = np.argwhere(change(near.data > 0.5, iterations=steps))
    if len(voxels) > MOST_POINTS:
        voxels = voxels[np.random.default_rng(seed).choice(len(voxels), MOST_POINTS, replace=False)]
    points = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
    values = _scaled(image.data)[tuple(voxels.T)]
    return _Fixed(
        torch.tensor(points, device=device),
        torch.tensor(values[None], device=device),
        torch.tensor(centre_of(fixed, mask), device=device),
    )


def _moving(images: Sequence[Volume], level: Level, device: torch.device | str) -> _Moving:
    images = [coarser(image, level.spacing_mm) if level.spacing_mm else image for image in images]
    shape = np.max([image.data.shape for image in images], axis=0)
    padded = np.zeros((len(images), 1, *shape), dtype=np.float32)
    from_world = np.empty((len(images), 4, 4))
    to_unit = np.diag([*(2 / (shape - 1)), 1.0])
    to_unit[:3, 3] = -1
    for own, matrix, image in zip(padded, from_world, images, strict=True):
        own[(0, *map(slice, image.data.shape))] = _scaled(image.data)
        matrix[:] = (to_unit @ np.linalg.inv(image.affine))[[2, 1, 0, 3]]  # grid_sample takes z, y, x
    return _Moving(torch.tensor(padded, device=device), torch.tensor(from_world, device=device))


def _scaled(data: np.ndarray) -> np.ndarray:
    """Intensities from 0 to 1, float32."""
    return np.clip(data / max(np.percentile(data[data > 0], BRIGHTEST_PERCENTILE), 1e-6), 0, 1).astype(np.float32)


def _search(
    begun: torch.Tensor, starts: torch.Tensor, moving: _Moving, fixed: _Fixed, level: Level
) -> tuple[torch.Tensor, torch.Tensor]:
    """The parameters (B, 12) after one search by Adam with falling steps, and the mutual information (B,) in nats."""
    from monai.losses import GlobalMutualInformationLoss

    loss = GlobalMutualInformationLoss(num_bins=HISTOGRAM_BINS, reduction="none").to(begun.device)
    parameters = begun.detach().clone().requires_grad_(True)
    optimiser = torch.optim.Adam([parameters], betas=BETAS)

    def losses() -> torch.Tensor:
        matrices = moving.from_world @ _matrices(_limited(parameters, level.freedom), starts, fixed.centre)
        index = fixed.points @ matrices[:, :3, :3].transpose(1, 2) + matrices[:, None, :3, 3]
        values = grid_sample(moving.images, index[:, :, None, None].float(), align_corners=True)[:, 0, :, 0, 0]
        return loss(values[:, None], fixed.values.expand(len(values), -1)[:, None])

    for step in range(level.steps):
        falling = 0.5 * (1 + np.cos(np.pi * step / level.steps))
        optimiser.param_groups[0]["lr"] = LAST_STEP_MM + level.step_mm * falling
        optimiser.zero_grad()
        losses().sum().backward()
        optimiser.step()
    with torch.no_grad():
        return _limited(parameters, level.freedom).clone(), -losses()


def _limited(parameters: torch.Tensor, freedom: int) -> torch.Tensor:
    """The parameters (B, 12) of a similarity or an affine transform: a similarity has one scale and no shear."""
    if freedom == AFFINE:
        return parameters
    scale = parameters[:, 6:7].expand(-1, 3)
    return torch.cat([parameters[:, :6], scale, torch.zeros_like(parameters[:, 9:])], dim=1)


def _matrices(parameters: torch.Tensor, starts: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """Matrices (B, 4, 4), RAS mm, of the translation and the logarithm of the linear part, about ``centre``, (B, 12).

    Each parameter is a length in mm: those of the linear part move the surface of a head.
    """
    x, y, z, *stretch, xy, xz, yz = (parameters[:, 3:] / RADIUS_MM).unbind(1)
    rows = [[stretch[0], xy - z, xz + y], [xy + z, stretch[1], yz - x], [xz - y, yz + x, stretch[2]]]
    logarithm = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    linear = starts[:, :3, :3] @ torch.linalg.matrix_exp(logarithm)
    shift = starts[:, :3, 3] + starts[:, :3, :3] @ centre + parameters[:, :3] - linear @ centre
    whole = torch.cat([linear, shift[:, :, None]], dim=2)
    last = whole.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(whole), 1, 4)
    return torch.cat([whole, last], dim=1)
