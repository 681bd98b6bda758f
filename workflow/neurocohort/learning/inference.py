"""Apply a trained network to scans: a value, class probabilities, or a map of tissue probabilities for each.

The probabilities of a segmentation are written to a file, so that memory doesn't grow with the number of scans.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.dataset.folds import with_fold, with_test_fold
from neurocohort.errors import InputError
from neurocohort.files import write_table, written_aside
from neurocohort.learning.data import PackedImages, to_input
from neurocohort.learning.model_files import Model
from neurocohort.learning.precision import FLOAT32, choose_precision, set_up_torch
from neurocohort.learning.prediction_tables import ID_COLUMNS
from neurocohort.learning.settings import TrainingSettings
from neurocohort.learning.tasks import SEGMENTATION, Segmentation, Task
from neurocohort.learning.windows import network_outputs
from neurocohort.progress import in_turn

PREDICTED_PARTS, TRAINING_PART = ("validation", "held-out", "external"), "train"
TESTED_PARTS = PREDICTED_PARTS[1:]
LEVELS = 255  # of a stored probability: eight bits are precise enough
FEWEST_LABELS = 2  # background and a structure
LEFT_RIGHT = -3  # the axis of a volume, (..., X, Y, Z)


def predicted_samples(samples: pd.DataFrame, fold: int, test_fold: int = 0) -> pd.DataFrame:
    """The rows that a member predicts: its validation, held-out and external rows.

    ``fold`` and ``test_fold`` are those of the member's settings. The rows of this fold have the part ``validation``
    (`with_fold`), and those of this test fold ``held-out`` (`with_test_fold`).
    """
    own = with_fold(with_test_fold(samples, test_fold), fold)
    return own[own["part"].isin(PREDICTED_PARTS)].reset_index(drop=True)


def tested_samples(samples: pd.DataFrame) -> pd.DataFrame:
    """The held-out and external rows, which no network of a study without test folds was trained or validated on."""
    return samples[samples["part"].isin(TESTED_PARTS)].reset_index(drop=True)


def trained_samples(samples: pd.DataFrame, fold: int, test_fold: int = 0) -> pd.DataFrame:
    """The rows that a member is trained on; arguments as for `predicted_samples`."""
    own = with_fold(with_test_fold(samples, test_fold), fold)
    return own[own["part"] == TRAINING_PART].reset_index(drop=True)


def predict(model: Model, samples: pd.DataFrame, packed: PackedImages, output: Path | None = None) -> np.ndarray:
    """The task's prediction for each row of ``samples``, computed in float32 whatever the precision of the training.

    Args:
        model: The trained network.
        samples: Rows of samples.tsv.
        packed: Their volumes.
        output: Where the probabilities of a segmentation are written.

    Returns:
        Regression: (N,) float64, in the target's unit. Classification: (N, classes) float64, probabilities. Segmentation:
        ``output``, mapped by `read_probabilities`.
    """
    if not len(samples):
        raise InputError("there is no scan to predict: see the experiment's flow.tsv for where they were left out.")
    found = _predictions(model, samples, packed)
    if output is not None and model.task.kind == SEGMENTATION:
        _write_probabilities(output, found, len(samples))
        return read_probabilities(output)
    return np.stack([prediction.numpy() for prediction in found]).astype(np.float64)


def predict_values(model: Model, images: np.ndarray) -> np.ndarray:
    """The value that a regression predicts for each of ``images`` (N, C, X, Y, Z), levels of any type: (N,) float64."""
    return np.array([float(one) for one in _of_images(model, images)])


def read_probabilities(path: Path) -> np.ndarray:
    """Map the probabilities of a segmentation: (N, labels, X, Y, Z) uint8, read-only.

    The ``.npy`` file has the scans in the order of the predicted table; background and the structures; the study's grid. 255 is
    a probability of 1. Each value is rounded separately, so that the four of a voxel, for three tissues, sum to 253 to 257.
    Raises InputError where the file is absent or not of this shape.
    """
    try:
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}. Delete it and run again to have it rebuilt.") from error
    if found.dtype != np.uint8 or found.ndim != 5 or found.shape[1] < FEWEST_LABELS:
        raise InputError(
            f"{path} holds {found.dtype} of shape {found.shape}, expected uint8 of shape (scans, labels, X, Y, Z): "
            "delete it and run again to have it rebuilt."
        )
    return found


def write_no_predictions(table: Path, probabilities: Path | None = None) -> None:
    """Write the empty table and probabilities of a training that left no model."""
    write_table(table, pd.DataFrame(columns=[*ID_COLUMNS, "target", "prediction"]))
    if probabilities:
        with written_aside(probabilities) as aside, open(aside, "wb") as stream:
            np.save(stream, np.zeros((0, FEWEST_LABELS, 1, 1, 1), dtype=np.uint8))


def _predictions(model: Model, samples: pd.DataFrame, packed: PackedImages) -> Iterator[torch.Tensor]:
    """Yield the prediction of each row."""
    found = _of_images(model, packed.each_image(samples))
    return (prediction for _, prediction in zip(in_turn(len(samples), "predicted"), found, strict=True))


def _of_images(model: Model, images: Iterable[np.ndarray]) -> Iterator[torch.Tensor]:
    """Yield each prediction, computed in a batch of its own, so that it never depends on other scans."""
    settings = model.settings.model_copy(update={"precision": FLOAT32})
    set_up_torch(settings.threads, model.device, settings.precision)
    precision = choose_precision(settings, model.device)
    network = precision.to_memory_format(model.network.eval())
    for image in images:
        levels = torch.from_numpy(image)[None].to(model.device)
        with torch.inference_mode():
            inputs = precision.to_memory_format(to_input(levels, model.intensity))
            prediction = _prediction(model.task, network, inputs, settings)
            if model.task.kind == SEGMENTATION:
                prediction = (prediction * LEVELS).round_().to(torch.uint8)
        yield prediction.cpu()


def _prediction(task: Task, network: nn.Module, inputs: torch.Tensor, settings: TrainingSettings) -> torch.Tensor:
    """The prediction for one scan, (1, C, X, Y, Z), or the mean of it and its mirror image's; a map is mirrored back."""
    found = task.predict(network_outputs(network, inputs, settings))[0]
    if not settings.mirror_averaging:
        return found
    mirrored = task.predict(network_outputs(network, inputs.flip(LEFT_RIGHT), settings))[0]
    return (found + (_mirrored_back(mirrored, task) if isinstance(task, Segmentation) else mirrored)) / 2


def _mirrored_back(maps: torch.Tensor, task: Segmentation) -> torch.Tensor:
    """The maps (labels, X, Y, Z) of a mirror image as those of the scan: left and right structures are exchanged too."""
    maps = maps.flip(LEFT_RIGHT)
    return maps if task.mirrored_labels is None else maps[list(task.mirrored_labels)]


def _write_probabilities(path: Path, maps: Iterable[torch.Tensor], count: int) -> None:
    """Write the ``count`` maps one by one: a memory-mapped file would count as memory of the job."""
    with written_aside(path) as aside, open(aside, "wb") as stream:
        for index, levels in enumerate(maps):
            if index == 0:
                header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False}
                np.lib.format.write_array_header_1_0(stream, header | {"shape": (count, *levels.shape)})
            stream.write(levels.contiguous().numpy().tobytes())
