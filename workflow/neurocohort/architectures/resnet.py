"""ResNets of four depths (He et al. 2016), MONAI's."""

from typing import Any

from neurocohort.architectures.facts import MONAI, VALUE_TASKS, Architecture, KeywordArguments, Shape, Stages

DEPTHS = (10, 18, 34, 50)
FIRST_WIDTH = 64  # published; each of the three levels below has twice as many channels as the one above


def _arguments(shape: Shape) -> KeywordArguments:
    """``widths``: of the first level."""
    factor = {"widen_factor": shape.widths[0] / FIRST_WIDTH} if shape.widths else {}
    return {"spatial_dims": 3, "n_input_channels": shape.inputs, "num_classes": shape.outputs} | factor


def _stages(network: Any) -> Stages:
    levels = [[getattr(network, f"layer{level}")] for level in (1, 2, 3, 4)]
    return [[network.conv1, network.bn1], *levels, [network.fc]]


def _feature_map(network: Any, images: Any) -> Any:
    found = network.maxpool(network.act(network.bn1(network.conv1(images))))
    return network.layer4(network.layer3(network.layer2(network.layer1(found))))


ARCHITECTURES = {
    f"resnet{depth}": Architecture(
        VALUE_TASKS,
        f"{MONAI}.resnet{depth}",
        _arguments,
        _stages,
        f"a three-dimensional ResNet-{depth} [@he2016]",
        class_name="ResNet",
        last_layer="fc",
        has_batch_norm=True,
        feature_map=_feature_map,
        feature_halvings=4,
        fewest=1,
        most=1,
        halvings=0,
    )
    for depth in DEPTHS
}
