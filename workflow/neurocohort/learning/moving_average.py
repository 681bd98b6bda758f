"""The exponential moving average of a network's weights and batch statistics over the steps of a training."""

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

BATCH_COUNTER = "num_batches_tracked"  # of a batch norm


def moving_average(network: nn.Module) -> AveragedModel:
    """An average of no steps.

    It includes the batch statistics: the latest ones would be those of other weights.
    """
    return AveragedModel(network, use_buffers=True)


def add_step(average: AveragedModel, network: nn.Module, decay: float, step: int) -> None:
    """Add the weights after ``step`` (from 0, over the whole training) to the ``average``.

    The weight of the average so far is ``decay``, and in the first steps (1 + step) / (10 + step) where this is smaller, so that
    a short training isn't averaged with its first steps.
    """
    average.multi_avg_fn = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))
    average.update_parameters(network)
    # Buffers of integers that are constants, such as SwinUNETR's table of positions: their average would be rounded down.
    for (name, averaged), own in zip(average.module.named_buffers(), network.buffers(), strict=True):
        if not averaged.is_floating_point() and not name.endswith(BATCH_COUNTER):
            averaged.copy_(own)
