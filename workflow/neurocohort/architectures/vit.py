"""A Vision Transformer whose positions follow from the grid and whose tokens are averaged (Beyer et al. 2022)."""

from typing import Any

from neurocohort.architectures.facts import OWN, VALUE_TASKS, Architecture, KeywordArguments, Shape, Stages

PATCH_SIZE = 16
PUBLISHED = (384,) * 12  # ViT-S
HEAD_WIDTH, NARROW_HEAD_WIDTH = 64, 24  # channels of an attention head: of published widths, and of all others


def _arguments(shape: Shape) -> KeywordArguments:
    """``widths``: of each block; all are the same."""
    width = shape.widths[0]
    heads = width // (HEAD_WIDTH if width % HEAD_WIDTH == 0 else NARROW_HEAD_WIDTH)
    sizes = {"in_channels": shape.inputs, "out_channels": shape.outputs, "patch_size": shape.patch_size or PATCH_SIZE}
    return sizes | {"width": width, "depth": len(shape.widths), "heads": heads, "dropout": shape.dropout}


def _stages(network: Any) -> Stages:
    return [[network.embedding], *([block] for block in network.blocks), [network.norm, network.classifier]]


ARCHITECTURES = {
    "vit": Architecture(
        VALUE_TASKS,
        f"{OWN}.vit.VisionTransformer",
        _arguments,
        _stages,
        "a three-dimensional Vision Transformer [@dosovitskiy2021] with fixed positions and averaged tokens [@beyer2022]",
        last_layer="classifier",
        widths=PUBLISHED,
        fewest=2,
        most=24,
        equal_widths=True,
        halvings=0,
        multiple_of=NARROW_HEAD_WIDTH,
        patch_size=PATCH_SIZE,
        has_dropout=True,
        has_soft_bins=True,
    )
}
