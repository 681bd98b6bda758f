"""Attention-based multiple-instance learning (Ilse et al. 2018): a scan is a bag of cubes, and only the bag has a label."""

from typing import Any

from neurocohort.architectures.facts import OWN, VALUE_TASKS, Architecture, KeywordArguments, Shape, Stages

CUBE = 16  # voxels


def _arguments(shape: Shape) -> KeywordArguments:
    given = {"inputs": shape.inputs, "channels": shape.widths, "outputs": shape.outputs}
    return given | {"side": shape.patch_size or CUBE, "dropout": shape.dropout}


def _stages(network: Any) -> Stages:
    """The levels of the encoder, split after each ReLU, the gate, and the head."""
    levels: Stages = [[]]
    for layer in network.encoder.layers:
        levels[-1].append(layer)
        if type(layer).__name__ == "ReLU":
            levels.append([])
    return [*levels[:-1], [network.gate], [network.classifier]]


ARCHITECTURES = {
    "attention_mil": Architecture(
        VALUE_TASKS,
        f"{OWN}.attention_mil.AttentionMIL",
        _arguments,
        _stages,
        "a network for multiple-instance learning, which pools the features of cubes by gated attention [@ilse2018]",
        last_layer="classifier",
        attention="attention",
        widths=(16, 32, 64),
        fewest=1,
        most=6,
        halvings=0,
        patch_size=CUBE,
        has_dropout=True,
    )
}
