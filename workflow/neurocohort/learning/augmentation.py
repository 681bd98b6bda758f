"""Augmentation of whole batches: flip, shift, rotation, scaling, gamma, noise.

What is drawn depends on (seed, epoch, sample) alone, so that neither the number of workers nor a resume changes it. Drawing
the parameters is one function and applying them another.
"""

import numpy as np
import torch
from torch.nn import functional

from neurocohort.learning.data import to_input

# Half of the samples keep their grid: interpolation blurs, and a network that saw only blurred edges misreads sharp ones.
SHARE_OF_EACH = 0.5
MAX_SHIFT = 0.04  # of the field of view
MAX_ROTATION_DEGREES = 6.0
MAX_SCALE = 0.04
MAX_LOG_GAMMA = 0.15
MAX_NOISE_SD = 0.04  # of the training part's intensity deviation


def draw(seed: int, epoch: int, sample: int) -> dict[str, np.ndarray]:
    """The random parameters of one sample in one epoch."""
    generator = np.random.default_rng((seed, epoch, sample))
    moved, recoloured, noisy = generator.random(3) < SHARE_OF_EACH
    return {
        "flip": generator.random() < 0.5,
        "shift": moved * generator.uniform(-2 * MAX_SHIFT, 2 * MAX_SHIFT, 3),  # the grid's sides run from -1 to 1
        "angles": moved * np.deg2rad(generator.uniform(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES, 3)),
        "scale": 1.0 + moved * generator.uniform(-MAX_SCALE, MAX_SCALE),
        "log_gamma": recoloured * generator.uniform(-MAX_LOG_GAMMA, MAX_LOG_GAMMA),
        "noise_sd": noisy * generator.uniform(0, MAX_NOISE_SD),
        "noise_seed": generator.integers(2**31),
    }


def augment(
    images: torch.Tensor, labels: torch.Tensor | None, drawn: list[dict], mean: list[float], deviation: list[float]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Apply ``drawn`` (one entry a sample) to ``images`` (N, C, X, Y, Z, uint8) and ``labels`` (N, X, Y, Z, or None).

    Returns the network's input (N, C, X, Y, Z) float32 and the labels, moved by the same geometry (nearest).
    """
    matrices = torch.from_numpy(np.stack([_matrix(d, images.shape[2:]) for d in drawn])).float().to(images.device)
    grid = functional.affine_grid(matrices, [len(images), 1, *images.shape[2:]], align_corners=False)
    level = images.float() / 255.0
    level = functional.grid_sample(level, grid, mode="bilinear", align_corners=False).clamp_(0, 1)
    gamma = torch.tensor([np.exp(d["log_gamma"]) for d in drawn], dtype=torch.float32, device=images.device)
    level = level ** gamma[:, None, None, None, None]
    inside = level > 0
    moved = to_input(level * 255.0, mean, deviation)
    for index, parameters in enumerate(drawn):
        generator = torch.Generator().manual_seed(int(parameters["noise_seed"]))
        noise = torch.randn(moved.shape[1:], generator=generator).to(images.device)
        moved[index] += float(parameters["noise_sd"]) * noise * inside[index]
    if labels is None:
        return moved, None
    moved_labels = functional.grid_sample(labels.float()[:, None], grid, mode="nearest", align_corners=False)
    return moved, moved_labels[:, 0].to(torch.uint8)


def _matrix(drawn: dict, shape: tuple[int, ...]) -> np.ndarray:
    """3 x 4: output to input coordinates, each from -1 to 1, x being the array's last axis as grid_sample has it."""
    from scipy.spatial.transform import Rotation

    rotation = Rotation.from_euler("xyz", drawn["angles"]).as_matrix() * drawn["scale"]
    # The sides differ in length: without this a rotation would shear the head.
    sides = np.array(shape[::-1], dtype=float)
    rotation = np.diag(1 / sides) @ rotation @ np.diag(sides)
    if drawn["flip"]:  # left and right lie along the first array axis, grid_sample's z
        rotation = rotation @ np.diag([1.0, 1.0, -1.0])
    return np.hstack([rotation, drawn["shift"][:, None]])
