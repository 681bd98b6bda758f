"""MONAI's SegResNet (Myronenko 2019)."""

from typing import Any

from neurocohort.architectures.facts import MAP_TASKS, MONAI, Architecture, KeywordArguments, Shape, Stages, volumes


def _arguments(shape: Shape) -> KeywordArguments:
    return volumes(shape) | {"init_filters": shape.widths[0]}


def _stages(network: Any) -> Stages:
    rising = [list(pair) for pair in zip(network.up_samples, network.up_layers, strict=True)]
    return [[network.convInit], *([layer] for layer in network.down_layers), *rising, [network.conv_final]]


ARCHITECTURES = {
    "segresnet": Architecture(
        MAP_TASKS,
        f"{MONAI}.SegResNet",
        _arguments,
        _stages,
        "MONAI's SegResNet [@myronenko2019]",
        widths=(16,),
        fewest=1,
        most=1,
        halvings=3,
        multiple_of=8,  # its group norm has eight groups
    )
}
