"""Apply a network to whole volumes, or to windows of them where it was trained on patches."""

from typing import cast

import torch
from torch import nn

from neurocohort.learning.constants import WINDOW_OVERLAP
from neurocohort.learning.settings import TrainingSettings

WINDOW_BATCH = 4


def network_outputs(network: nn.Module, inputs: torch.Tensor, settings: TrainingSettings) -> torch.Tensor:
    """The outputs of ``network`` for ``inputs`` (N, C, X, Y, Z): for whole volumes, or with ``settings.patch`` for windows.

    Windows have the size of a patch, overlap by half and are weighted by a Gaussian (MONAI's SlidingWindowInferer); the result is
    (N, outputs, X, Y, Z). The caller sets autocast and gradients.
    """
    if not settings.patch:
        return network(inputs)
    from monai.inferers import SlidingWindowInferer  # MONAI is slow to import: only where it is used

    windows = SlidingWindowInferer(
        tuple(settings.patch),
        WINDOW_BATCH,
        overlap=WINDOW_OVERLAP,
        mode="gaussian",
        padding_mode="replicate",  # for a window larger than the volume; a border of 0 would be tissue
    )
    # The weighted sum is computed in float32 under autocast too.
    return cast(torch.Tensor, windows(inputs, lambda window: network(window).float()))
