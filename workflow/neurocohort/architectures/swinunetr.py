"""Swin UNETR (Hatamizadeh et al. 2022), MONAI's."""

from typing import Any

from neurocohort.architectures.facts import MAP_TASKS, MONAI, Architecture, KeywordArguments, Shape, Stages, volumes

WIDTH = 48  # Hatamizadeh et al. 2022
WIDTH_STEP = 12  # of its attention heads: 3, 6, 12 and 24, for 1, 2, 4 and 8 times the channels
HALVINGS = 5
PACKAGES = ("einops",)


def _arguments(shape: Shape) -> KeywordArguments:
    return volumes(shape) | {"feature_size": shape.widths[0]}


def _stages(network: Any) -> Stages:
    """The stages of the transformer, each with the convolutions that follow it in the skip connection, and the decoder's."""
    swin = network.swinViT
    skips = {1: [network.encoder3], 2: [network.encoder4], 3: [], 4: [network.encoder10]}
    falling = [[getattr(swin, f"layers{level}"), *skip] for level, skip in skips.items()]
    rising = [[getattr(network, f"decoder{level}")] for level in (5, 4, 3, 2, 1)]
    return [[swin.patch_embed, network.encoder1, network.encoder2], *falling, *rising, [network.out]]


ARCHITECTURES = {
    "swinunetr": Architecture(
        MAP_TASKS,
        f"{MONAI}.SwinUNETR",
        _arguments,
        _stages,
        "MONAI's Swin UNETR [@hatamizadeh2022]",
        widths=(WIDTH,),
        fewest=1,
        most=1,
        halvings=HALVINGS,
        multiple_of=WIDTH_STEP,
        has_instance_norm=True,
        packages=PACKAGES,
        needs_numbers=True,
    )
}
