"""MONAI's DynUNet, after nnU-Net (Isensee et al. 2021)."""

from typing import Any

from neurocohort.architectures.facts import (
    MAP_TASKS,
    MONAI,
    Architecture,
    KeywordArguments,
    Shape,
    Stages,
    supervised_heads,
    volumes,
)


def _arguments(shape: Shape) -> KeywordArguments:
    strides = [2] * (len(shape.widths) - 1)
    kernels = {"kernel_size": [3] * len(shape.widths), "strides": [1, *strides], "upsample_kernel_size": strides}
    supervised = {"deep_supervision": True, "deep_supr_num": supervised_heads(shape)} if shape.deep_supervision else {}
    return volumes(shape) | kernels | {"filters": shape.widths} | supervised


def _stages(network: Any) -> Stages:
    inner = [[layer] for layer in (*network.downsamples, network.bottleneck, *network.upsamples)]
    heads = network.deep_supervision_heads if network.deep_supervision else []
    return [[network.input_block], *inner, [network.output_block, *heads]]


ARCHITECTURES = {
    "dynunet": Architecture(
        MAP_TASKS,
        f"{MONAI}.DynUNet",
        _arguments,
        _stages,
        "MONAI's DynUNet, after nnU-Net [@isensee2021]",
        widths=(32, 64, 128, 256),
        fewest=3,
        most=10,
        has_deep_supervision=True,
        has_instance_norm=True,
    )
}
