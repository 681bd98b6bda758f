"""How much arithmetic a network is: counted by torch on a device that computes nothing, whatever its channels and its grid."""

import json
from functools import cache
from math import ceil, prod

from neurocohort.learning.constants import SOFT_BINS, WINDOW_OVERLAP
from neurocohort.learning.networks import build_network
from neurocohort.learning.tasks.segmentation import Segmentation

WINDOW_STEP = 1 - WINDOW_OVERLAP  # of a window


def gflops(settings: dict, shape: list[int]) -> float:
    """GFLOP of one scan of ``shape`` (voxels) through the network, forwards. ``settings``: as of `training_settings`."""
    key = json.dumps({name: settings[name] for name in ("task", "network", "channels", "classes", "modalities")})
    return _counted(key, tuple(shape))


def weights_bytes(settings: dict) -> float:
    """Bytes of the network's weights, four a parameter. ``settings``: as for `gflops`."""
    return 4.0 * sum(parameter.numel() for parameter in _made(settings).parameters())


def windows(patch: list[int], shape: list[int]) -> int:
    """How many windows of ``patch`` cover a volume of ``shape`` at prediction; 1 where it is seen whole."""
    if not patch:
        return 1
    steps = (ceil(max(side - edge, 0) / (edge * WINDOW_STEP)) + 1 for edge, side in zip(patch, shape, strict=True))
    return prod(steps)


@cache
def _counted(settings: str, shape: tuple[int, ...]) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    read = json.loads(settings)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter, torch.no_grad():
        _made(read)(torch.empty(1, len(read["modalities"]), *shape))
    return counter.get_total_flops() / 1e9


def _made(settings: dict):
    """The network without its numbers: its layers are there, and nothing is stored or computed."""
    import torch

    outputs = {"segmentation": Segmentation.outputs, "regression": SOFT_BINS}.get(settings["task"], settings["classes"])
    with torch.device("meta"):
        inputs = len(settings["modalities"])
        return build_network(settings["network"], settings["channels"] or None, outputs, inputs=inputs).eval()
