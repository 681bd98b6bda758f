"""What a network returns for whole volumes, or for windows of them where it was trained on patches."""

import torch
from torch import nn

from neurocohort.learning.constants import WINDOW_OVERLAP
from neurocohort.learning.settings import TrainingSettings

WINDOW_BATCH = 4


def network_outputs(network: nn.Module, inputs: torch.Tensor, settings: TrainingSettings) -> torch.Tensor:
    """What ``network`` returns for ``inputs`` (N, C, X, Y, Z): of whole volumes, or, where ``settings.patch`` is set, of
    windows of that size, half overlapping and weighted by a Gaussian (MONAI's SlidingWindowInferer), as (N, outputs, X, Y, Z).

    Autocast and gradients are the caller's to switch.
    """
    if not settings.patch:
        return network(inputs)
    from monai.inferers import SlidingWindowInferer  # MONAI is slow to import: only where it is used

    windows = SlidingWindowInferer(
        tuple(settings.patch),
        WINDOW_BATCH,
        overlap=WINDOW_OVERLAP,
        mode="gaussian",
        padding_mode="replicate",  # a window larger than the volume: the border goes on, and 0 would be tissue there
    )
    # Under autocast too, the weighted sum is one of float32.
    return windows(inputs, lambda window: network(window).float())
