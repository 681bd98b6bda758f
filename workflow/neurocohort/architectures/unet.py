"""A U-Net with residual units (Kerfoot et al. 2019), MONAI's."""

from typing import Any

from neurocohort.architectures.facts import MAP_TASKS, MONAI, Architecture, KeywordArguments, Shape, Stages, volumes


def _arguments(shape: Shape) -> KeywordArguments:
    strides = [2] * (len(shape.widths) - 1)
    return volumes(shape) | {"channels": shape.widths, "strides": strides, "num_res_units": 1, "norm": "instance"}


def _stages(network: Any) -> Stages:
    return _nested(network.model)


def _nested(block: Any) -> Stages:
    """The levels, which are nested: down, (level below), up."""
    from monai.networks.layers import SkipConnection
    from torch import nn

    if isinstance(block, nn.Sequential) and len(block) == 3 and isinstance(block[1], SkipConnection):
        down, below, up = block
        return [[down], *_nested(below.submodule), [up]]
    return [[block]]


ARCHITECTURES = {
    "unet": Architecture(
        MAP_TASKS,
        f"{MONAI}.UNet",
        _arguments,
        _stages,
        "a U-Net with residual units [@kerfoot2019]",
        widths=(16, 32, 64, 128),
        fewest=2,
        most=10,
        has_instance_norm=True,
    )
}
