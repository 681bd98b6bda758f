"""What a trained network says of scans: a value, class probabilities, or a map of tissue probabilities.

A segmentation's probabilities go to a file, so that memory stays the same for any number of scans.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.dataset.folds import with_fold
from neurocohort.errors import InputError
from neurocohort.files import write_table, written_aside
from neurocohort.learning.data import PackedImages, to_input
from neurocohort.learning.precision import FLOAT32, choose_precision, set_up_torch
from neurocohort.learning.prediction_tables import ID_COLUMNS
from neurocohort.learning.settings import TrainingSettings, read_settings
from neurocohort.learning.tasks import SEGMENTATION, TISSUE_LABELS, Task
from neurocohort.learning.windows import network_outputs
from neurocohort.progress import in_turn

PREDICTED_PARTS = ("validation", "held-out", "external")
LEVELS = 255  # of a stored probability: eight bits are finer than what a network knows


def predicted_samples(samples: pd.DataFrame, fold: int) -> pd.DataFrame:
    """The rows that a member is applied to, in their order: those it validates on, then called so in ``part`` whatever the
    split says of them, the held-out and the external ones.

    ``fold``: that of the member's settings; 0 where the split's own validation part is meant.
    """
    own = with_fold(samples, fold)
    return own[own["part"].isin(PREDICTED_PARTS)].reset_index(drop=True)


def predict(
    network: nn.Module,
    task: Task,
    run: dict,
    samples: pd.DataFrame,
    packed: PackedImages,
    device: torch.device,
    output: Path | None = None,
) -> np.ndarray:
    """The task's prediction for each row of ``samples``, computed in float32 whatever the training's precision.

    Regression: (N,) float64, in the target's unit. Classification: (N, classes) float64, probabilities. Segmentation:
    ``output`` is written, and returned as `read_probabilities` reads it. ``run``: the content of run.json.
    """
    settings = read_settings(run["settings"]).model_copy(update={"precision": FLOAT32})
    set_up_torch(settings.threads, device, settings.precision)
    if not len(samples):
        raise InputError("there is no scan to predict: see the experiment's flow.tsv for where they were left out.")
    found = _predictions(network, task, run["intensity"], settings, samples, packed, device)
    if task.kind == SEGMENTATION:
        _write_probabilities(output, found, len(samples))
        return read_probabilities(output)
    return np.stack([prediction.numpy() for prediction in found]).astype(np.float64)


def read_probabilities(path: Path) -> np.ndarray:
    """Map a segmentation's probabilities: (N, 4, X, Y, Z) uint8, read-only, from disk as it is looked at.

    An ``.npy`` file in C order: scans in the order of the table that was predicted; background, CSF, GM, WM; the study's grid.
    255 is a probability of 1. Rounding is each value's own, so a voxel's four sum to 255 give or take 2. Raises InputError
    where the file is absent or another.
    """
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}. Delete it and run again to have it rebuilt.") from error
    if found.dtype != np.uint8 or found.ndim != 5 or found.shape[1] != TISSUE_LABELS:
        raise InputError(
            f"{path} holds {found.dtype} of shape {found.shape}, expected uint8 of shape (scans, {TISSUE_LABELS}, X, Y, Z): "
            "delete it and run again to have it rebuilt."
        )
    return found


def write_no_predictions(table: Path, probabilities: Path | None = None) -> None:
    """Write what `predict` and its tables are of no scan at all, for a training that left no model."""
    write_table(table, pd.DataFrame(columns=[*ID_COLUMNS, "target", "prediction"]))
    if probabilities:
        with written_aside(probabilities) as aside, open(aside, "wb") as stream:
            np.save(stream, np.zeros((0, TISSUE_LABELS, 1, 1, 1), dtype=np.uint8))


def _predictions(
    network: nn.Module,
    task: Task,
    intensity: dict,
    settings: TrainingSettings,
    samples: pd.DataFrame,
    packed: PackedImages,
    device: torch.device,
) -> Iterator[torch.Tensor]:
    """One prediction after the other, alone in its batch, so that it never depends on its neighbours."""
    precision = choose_precision(settings, device)
    network = precision.to_memory_format(network.eval())
    for _, scan in zip(in_turn(len(samples), "predicted"), packed.each_image(samples), strict=True):
        images = torch.from_numpy(scan)[None].to(device)
        with torch.inference_mode():
            inputs = precision.to_memory_format(to_input(images, intensity["mean"], intensity["deviation"]))
            prediction = task.predict(network_outputs(network, inputs, settings))[0]
            if task.kind == SEGMENTATION:
                prediction = (prediction * LEVELS).round_().to(torch.uint8)
        yield prediction.cpu()


def _write_probabilities(path: Path, maps: Iterable[torch.Tensor], count: int) -> None:
    """Write the ``count`` maps one after the other: a map of the file in memory would count as memory of the job."""
    with written_aside(path) as aside, open(aside, "wb") as stream:
        for index, levels in enumerate(maps):
            if index == 0:
                header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False}
                np.lib.format.write_array_header_1_0(stream, header | {"shape": (count, *levels.shape)})
            stream.write(levels.contiguous().numpy().tobytes())
