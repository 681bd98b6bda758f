"""The features of a network: what its last layer gets, one vector for each scan. Only networks for values have them.

`Architecture.last_layer` names that layer. The features are recorded on its input, so that predictions keep their bits.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.architectures import ARCHITECTURES
from neurocohort.learning.data import PackedImages
from neurocohort.learning.inference import predict
from neurocohort.learning.model_files import Model


def features(network: nn.Module, architecture: str, inputs: torch.Tensor) -> torch.Tensor:
    """The features of some scans.

    Args:
        network: In evaluation mode, on the device of ``inputs``.
        architecture: Its key of `ARCHITECTURES`.
        inputs: (N, C, X, Y, Z) float32, as from `to_input`.

    Returns:
        (N, features) float32 on the CPU.
    """
    with recorded_features(network, architecture) as recorded, torch.inference_mode():
        network(inputs)
    return recorded[0]


@contextmanager
def recorded_features(network: nn.Module, architecture: str) -> Iterator[list[torch.Tensor]]:
    """Within the block, each forward pass of ``network`` adds its features, (N, features) float32 on the CPU, to the list.

    Raises ValueError for a network of label maps, whose last layer gets a volume.
    """
    if not (name := ARCHITECTURES[architecture].last_layer):
        raise ValueError(f"{architecture} has no features: it predicts label maps")
    recorded: list[torch.Tensor] = []
    layer = network.get_submodule(name)
    handle = layer.register_forward_pre_hook(lambda _, given: recorded.append(given[0].detach().float().cpu()))
    try:
        yield recorded
    finally:
        handle.remove()


def predict_with_features(model: Model, samples: pd.DataFrame, packed: PackedImages) -> tuple[np.ndarray, np.ndarray]:
    """What `predict` returns for ``samples``, and the features, (rows, features) float32.

    With `mirror_averaging`, the features are the mean of those of the scan and of its mirror image, as the prediction is.
    """
    with recorded_features(model.network, model.settings.network) as recorded:
        predictions = predict(model, samples, packed)
    passes = len(recorded) // len(samples)
    found: np.ndarray = torch.cat(recorded).reshape(len(samples), passes, -1).mean(dim=1).numpy()
    return predictions, found
