"""Deep supervision: coarser levels of a decoder have outputs of their own in training, weighted as in nnU-Net."""

import torch

from neurocohort.learning.tasks import Task

LEVEL_RATIO = 0.5  # the weight of a level relative to the next finer one


def level_weights(levels: int) -> list[float]:
    """The weights of the levels' losses, the finest level first; their sum is 1. For three levels: 4/7, 2/7 and 1/7."""
    weights = [LEVEL_RATIO**level for level in range(levels)]
    return [weight / sum(weights) for weight in weights]


def loss_of_levels(task: Task, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the losses of all levels, each on the grid of the finest.

    Args:
        task: The segmentation.
        outputs: (N, levels, labels, X, Y, Z) logits, the finest level first.
        targets: (N, X, Y, Z) labels.
    """
    weights = level_weights(outputs.shape[1])
    losses = [weight * task.loss(outputs[:, level], targets) for level, weight in enumerate(weights)]
    return torch.stack(losses).sum()
