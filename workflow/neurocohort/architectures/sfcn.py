"""The simple fully convolutional network of Peng et al. 2021."""

from typing import Any

from neurocohort.architectures.facts import OWN, VALUE_TASKS, Architecture, KeywordArguments, Shape, Stages


def _arguments(shape: Shape) -> KeywordArguments:
    given = {"inputs": shape.inputs, "channels": shape.widths, "outputs": shape.outputs}
    return given | {"dropout": shape.dropout, "norm": shape.norm}


def _stages(network: Any) -> Stages:
    """The layers, split after each ReLU, and the head."""
    blocks: Stages = [[]]
    for layer in network.features:
        blocks[-1].append(layer)
        if type(layer).__name__ == "ReLU":
            blocks.append([])
    return [*blocks[:-1], [network.classifier]]


ARCHITECTURES = {
    "sfcn": Architecture(
        VALUE_TASKS,
        f"{OWN}.sfcn.SFCN",
        _arguments,
        _stages,
        "the simple fully convolutional network (SFCN) [@peng2021]",
        last_layer="classifier",
        has_batch_norm=True,
        feature_map=lambda network, images: network.features(images),
        widths=(32, 64, 128, 256, 256, 64),  # Peng et al. 2021
        fewest=2,
        most=10,
        has_dropout=True,
        has_norm=True,
        has_soft_bins=True,
    )
}
