"""Apply the networks of a translation to scans: the mean of their predicted images, in the packs' intensities."""

from collections.abc import Sequence

import numpy as np
import torch

from neurocohort.learning.data import LEVELS, to_input
from neurocohort.learning.model_files import Model
from neurocohort.learning.precision import FLOAT32, choose_precision, set_up_torch
from neurocohort.learning.translation_inputs import channels_of

LARGEST_LEVEL = LEVELS - 1


def translated(models: Sequence[Model], source: np.ndarray) -> np.ndarray:
    """Predict the target image of one scan, the mean of ``models``, computed in float32 whatever the precision of the training.

    Args:
        models: Trained networks of one experiment.
        source: The source channels, (C, X, Y, Z) uint8.

    Returns:
        (X, Y, Z) float32 from 0 to 1, the preprocessed intensities; 0 where all source channels are 0, outside the brain.
    """
    total = np.zeros(source.shape[1:], dtype=np.float64)
    for model in models:
        total += _levels(model, source)
    found = np.clip(total / (len(models) * LARGEST_LEVEL), 0, 1)
    return np.where((source > 0).any(axis=0), found, 0).astype(np.float32)


def _levels(model: Model, source: np.ndarray) -> np.ndarray:
    """The prediction of one network, in levels from 0 to 255."""
    settings = model.settings.model_copy(update={"precision": FLOAT32})
    set_up_torch(settings.threads, model.device, settings.precision)
    precision, own = choose_precision(settings, model.device), slice(0, len(source))
    network = precision.to_memory_format(model.network.eval())
    images = torch.from_numpy(source)[None].to(model.device)
    with torch.inference_mode():
        inputs = precision.to_memory_format(to_input(images, channels_of(model.intensity, own)))
        found = model.task.predict(network(inputs))[0, 0].double().cpu().numpy()
    return found * model.intensity.deviation[-1] + model.intensity.mean[-1]
