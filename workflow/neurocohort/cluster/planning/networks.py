"""How much arithmetic a network does, counted by torch on a device that computes nothing, for any channels and any grid."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from math import ceil, prod
from typing import Any

import numpy as np

from neurocohort.architectures import ARCHITECTURES
from neurocohort.learning.constants import WINDOW_OVERLAP
from neurocohort.learning.networks import build_network
from neurocohort.learning.pretraining import pretraining_network
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import WITHOUT_VALUES, Pretraining, fit_task
from neurocohort.settings.pretraining import CONTRASTIVE

WINDOW_STEP = 1 - WINDOW_OVERLAP  # in widths of a window
BYTES_A_WEIGHT = 4
SHAPING = (
    "task",
    "network",
    "channels",
    "patch_size",
    "classes",
    "structures",
    "modalities",
    "soft_bins",
    "deep_supervision",
    "pretraining",
    "translation",
)  # the settings that a network's size depends on


def gflops(settings: Mapping[str, Any], shape: Sequence[int]) -> float:
    """GFLOP of one scan's forward pass.

    Args:
        settings: As of `training_settings`.
        shape: Voxels of the scan.
    """
    return _counted(_key(settings), tuple(shape))


def weights_bytes(settings: Mapping[str, Any]) -> float:
    """Bytes of a network's weights. ``settings``: as for `gflops`."""
    return float(BYTES_A_WEIGHT * sum(parameter.numel() for parameter in _built(_key(settings)).parameters()))


def windows(patch: Sequence[int], shape: Sequence[int]) -> int:
    """How many windows of ``patch`` voxels cover a volume of ``shape`` at prediction; 1 without a patch."""
    if not patch:
        return 1
    steps = (ceil(max(side - edge, 0) / (edge * WINDOW_STEP)) + 1 for edge, side in zip(patch, shape, strict=True))
    return prod(steps)


def _key(settings: Mapping[str, Any]) -> str:
    return json.dumps({name: settings[name] for name in SHAPING if name in settings})


@cache
def _counted(key: str, shape: tuple[int, ...]) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = _built(key)
    settings = TrainingSettings(**json.loads(key))
    views = 2 if settings.pretraining and settings.pretraining.method == CONTRASTIVE else 1
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter, torch.no_grad():
        network(torch.empty(1, views * len(settings.modalities), *shape))
    return counter.get_total_flops() / 1e9


def _built(key: str):
    """The network without its numbers: it has its layers, but stores and computes nothing."""
    import torch

    settings = TrainingSettings(**json.loads(key))
    targets = None if settings.task in WITHOUT_VALUES else np.arange(settings.classes)  # only the outputs are counted
    task = fit_task(settings, targets)
    inputs, supervised = len(settings.modalities), settings.deep_supervision
    with torch.device("cpu" if ARCHITECTURES[settings.network].needs_numbers else "meta"):
        if isinstance(task, Pretraining):
            network = pretraining_network(settings, task)
        else:
            network = build_network(
                settings.network,
                settings.channels,
                task.outputs,
                inputs=inputs,
                deep_supervision=supervised,
                patch_size=settings.patch_size,
            )
    return network.to("meta").eval()
