"""A U-Net with nnU-Net's residual encoder (Isensee et al. 2024)."""

from typing import Any

from neurocohort.architectures.facts import (
    MAP_TASKS,
    OWN,
    Architecture,
    KeywordArguments,
    Shape,
    Stages,
    supervised_heads,
)

BLOCKS = (1, 3, 4, 6)  # residual blocks of the encoder by level; the deeper levels have as many as the last of these


def residual_blocks(levels: int) -> list[int]:
    """Residual blocks of each level of the encoder."""
    return [*BLOCKS, *[BLOCKS[-1]] * levels][:levels]


def _arguments(shape: Shape) -> KeywordArguments:
    supervised = {"heads": supervised_heads(shape)} if shape.deep_supervision else {}
    sizes = {"in_channels": shape.inputs, "out_channels": shape.outputs, "filters": shape.widths}
    return sizes | {"blocks": residual_blocks(len(shape.widths))} | supervised


def _stages(network: Any) -> Stages:
    rising = [list(pair) for pair in zip(network.upsampling, network.decoder, strict=True)]
    return [[network.stem], *([level] for level in network.encoder), *rising, [network.output, *network.heads]]


ARCHITECTURES = {
    "resencunet": Architecture(
        MAP_TASKS,
        f"{OWN}.residual_unet.ResidualEncoderUNet",
        _arguments,
        _stages,
        "a U-Net with the residual encoder of nnU-Net [@isensee2024], built from MONAI's blocks",
        widths=(32, 64, 128, 256, 320, 320),  # nnU-Net's, from which it halves a patch five times
        fewest=3,
        most=10,
        has_deep_supervision=True,
        has_instance_norm=True,
    )
}
