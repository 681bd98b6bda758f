"""DenseNets of three depths (Huang et al. 2017), MONAI's."""

from typing import Any

from neurocohort.architectures.facts import MONAI, VALUE_TASKS, Architecture, KeywordArguments, Shape, Stages, volumes

DEPTHS = (121, 169, 201)


def _arguments(shape: Shape) -> KeywordArguments:
    """``widths``: of the first convolution; each layer adds half as many channels, as published."""
    widths = {"init_features": shape.widths[0], "growth_rate": shape.widths[0] // 2} if shape.widths else {}
    return volumes(shape) | {"dropout_prob": shape.dropout} | widths


def stages(network: Any) -> Stages:
    """The first convolution, the four dense blocks, each with what follows it, and the head."""
    blocks = dict(network.features.named_children())
    names = [["conv0", "norm0"], *([f"denseblock{i}", f"transition{i}"] for i in (1, 2, 3)), ["denseblock4", "norm5"]]
    return [*([blocks[name] for name in group] for group in names), [network.class_layers]]


ARCHITECTURES = {
    f"densenet{depth}": Architecture(
        VALUE_TASKS,
        f"{MONAI}.DenseNet{depth}",
        _arguments,
        stages,
        f"a three-dimensional DenseNet-{depth} [@huang2017]",
        last_layer="class_layers.out",
        has_batch_norm=True,
        feature_map=lambda network, images: network.class_layers.relu(network.features(images)),
        feature_halvings=5,
        fewest=1,
        most=1,
        halvings=5,
        multiple_of=2,
        has_dropout=True,
        # On one CPU core channels last multiplies the time of a step by 0.5 to 0.9, but by 1.08 with DenseNet's narrow layers.
        contiguous_on_cpu=True,
    )
    for depth in DEPTHS
}
