"""Mixup: each training scan is averaged with another one of its batch, and so are their targets (Zhang et al. 2018, mixup:
Beyond Empirical Risk Minimization, International Conference on Learning Representations)."""

from dataclasses import dataclass

import numpy as np
import torch

from neurocohort.learning.tasks import Task

STREAM = 3  # added to (seed, epoch, step, process); augmentation and patches have others


@dataclass(frozen=True)
class Mix:
    """How the scans of a batch are averaged.

    Args:
        weight: The weight of each scan itself, 0.5 to 1.
        partner: The index of the other scan for each one, of weight 1 - ``weight``.
    """

    weight: float
    partner: np.ndarray


def draw_mix(count: int, alpha: float, position: tuple[int, ...]) -> Mix | None:
    """Draw the mix of a batch of ``count`` scans from ``position``, (seed, epoch, step, process); None without mixup.

    The weight follows Beta(alpha, alpha), and is that of the larger share, which gives the same pairs in another order.
    """
    if not alpha or count < 2:
        return None
    generator = np.random.default_rng((*position, STREAM))
    share = generator.beta(alpha, alpha)
    return Mix(float(max(share, 1 - share)), generator.permutation(count))


def mixed(inputs: torch.Tensor, mix: Mix | None) -> torch.Tensor:
    """Average the scans, (N, C, X, Y, Z), with their partners."""
    if mix is None:
        return inputs
    return torch.lerp(inputs[torch.from_numpy(mix.partner).to(inputs.device)], inputs, mix.weight)


def mixed_loss(task: Task, outputs: torch.Tensor, targets: torch.Tensor, mix: Mix | None) -> torch.Tensor:
    """The loss against the averaged targets.

    It is the average of the losses against both targets. For cross-entropy, the Kullback-Leibler divergence and the squared
    error this has the gradient of the loss against the averaged target.
    """
    own = task.loss(outputs, targets)
    if mix is None:
        return own
    other = task.loss(outputs, targets[torch.from_numpy(mix.partner).to(targets.device)])
    return mix.weight * own + (1 - mix.weight) * other
