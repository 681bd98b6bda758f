"""The encoder of Swin UNETR (Hatamizadeh et al. 2022), MONAI's, whose last features are averaged."""

from typing import Any

from neurocohort.architectures.facts import OWN, VALUE_TASKS, Architecture, KeywordArguments, Shape, Stages
from neurocohort.architectures.swinunetr import HALVINGS, PACKAGES, WIDTH, WIDTH_STEP


def _arguments(shape: Shape) -> KeywordArguments:
    sizes = {"in_channels": shape.inputs, "out_channels": shape.outputs}
    return sizes | {"feature_size": shape.widths[0], "dropout": shape.dropout}


def _stages(network: Any) -> Stages:
    swin = network.swinViT
    levels = [[getattr(swin, f"layers{level}")] for level in (1, 2, 3, 4)]
    return [[swin.patch_embed], *levels, [network.classifier]]


ARCHITECTURES = {
    "swin": Architecture(
        VALUE_TASKS,
        f"{OWN}.swin.SwinEncoder",
        _arguments,
        _stages,
        "the encoder of MONAI's Swin UNETR [@hatamizadeh2022] with its last features averaged over the volume",
        last_layer="classifier",
        widths=(WIDTH,),
        fewest=1,
        most=1,
        halvings=HALVINGS,
        pads=True,
        multiple_of=WIDTH_STEP,
        has_dropout=True,
        has_soft_bins=True,
        packages=PACKAGES,
        needs_numbers=True,
    )
}
