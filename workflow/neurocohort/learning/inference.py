"""What a trained network says of scans: a value, class probabilities, or a map of tissue probabilities.

A segmentation's probabilities go to a file, so that memory stays the same for any number of scans; the tables hold one row a
scan, or one a scan and tissue.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.cohorts.progress import terminal_stream
from neurocohort.dataset.folds import with_fold
from neurocohort.errors import InputError
from neurocohort.files import write_table, written_aside
from neurocohort.imaging.registration import dice
from neurocohort.imaging.tissues import TISSUES
from neurocohort.learning.data import PackedImages, places, to_input
from neurocohort.learning.precision import FLOAT32, choose_precision, set_up_torch
from neurocohort.learning.settings import TrainingSettings, read_settings
from neurocohort.learning.tasks import SEGMENTATION, TISSUE_LABELS, Task

ID_COLUMNS = ["cohort", "part", "scan_id", "participant_id", "site", "age", "sex"]
PREDICTED_PARTS = ("validation", "held-out", "external")
WINDOW_OVERLAP = 0.5  # of neighbouring windows: each voxel away from the border is near the middle of one of them
WINDOW_BATCH = 4
LEVELS = 255  # of a stored probability: eight bits are finer than what a network knows
LINE_EVERY_S = 10.0


def network_outputs(network: nn.Module, inputs: torch.Tensor, settings: TrainingSettings) -> torch.Tensor:
    """What ``network`` returns for ``inputs`` (N, C, X, Y, Z): of whole volumes, or, where ``settings.patch`` is set, of
    windows of that size, half overlapping and weighted by a Gaussian (MONAI's SlidingWindowInferer), as (N, outputs, X, Y, Z).

    Autocast and gradients are the caller's to switch.
    """
    if not settings.patch:
        return network(inputs)
    from monai.inferers import SlidingWindowInferer  # MONAI is slow to import: only where it is used

    windows = SlidingWindowInferer(
        tuple(settings.patch),
        WINDOW_BATCH,
        overlap=WINDOW_OVERLAP,
        mode="gaussian",
        padding_mode="replicate",  # a window larger than the volume: the border goes on, and 0 would be tissue there
    )
    # Under autocast too, the weighted sum is one of float32.
    return windows(inputs, lambda window: network(window).float())


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
    settings = replace(read_settings(run["settings"]), precision=FLOAT32)
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
        raise InputError(f"{path} can't be read: {error}. Delete it and run again to have it made anew.") from error
    if found.dtype != np.uint8 or found.ndim != 5 or found.shape[1] != TISSUE_LABELS:
        raise InputError(
            f"{path} holds {found.dtype} of shape {found.shape}, expected uint8 of shape (scans, {TISSUE_LABELS}, X, Y, Z): "
            "delete it and run again to have it made anew."
        )
    return found


def write_no_predictions(table: Path, probabilities: Path | None = None) -> None:
    """Write what `predict` and its tables are of no scan at all, for a training that left no model."""
    write_table(table, pd.DataFrame(columns=[*ID_COLUMNS, "target", "prediction"]))
    if probabilities:
        with written_aside(probabilities) as aside, open(aside, "wb") as stream:
            np.save(stream, np.zeros((0, TISSUE_LABELS, 1, 1, 1), dtype=np.uint8))


def label_map(probabilities: np.ndarray) -> np.ndarray:
    """The most probable label of each voxel, (X, Y, Z) uint8, from (4, X, Y, Z); the smallest where two are equal."""
    return probabilities.argmax(axis=0).astype(np.uint8)


def reference_labels(samples: pd.DataFrame, packed: PackedImages) -> Iterator[np.ndarray]:
    """The reference label map of each row of ``samples`` in turn, (X, Y, Z) uint8."""
    return (packed.label_map(pack, row) for pack, row in places(samples))


def value_rows(samples: pd.DataFrame, predictions: np.ndarray) -> pd.DataFrame:
    """The table of a regression or classification: identity, target and prediction, one row a scan.

    ``predictions``: values (N,), which become ``prediction``; probabilities (N, 2), whose second column does; or (N, K) of
    more classes: ``prediction`` is then the most probable class, with ``probability_0`` to ``probability_{K-1}`` beside it.
    """
    rows = samples[ID_COLUMNS].copy()
    rows["target"] = samples["target"].to_numpy()
    if predictions.ndim == 1 or predictions.shape[1] == 2:
        rows["prediction"] = np.round(predictions if predictions.ndim == 1 else predictions[:, 1], 6)
        return rows
    rows["prediction"] = predictions.argmax(axis=1)
    for number, probability in enumerate(predictions.T):
        rows[f"probability_{number}"] = np.round(probability, 6)
    return rows


def baseline_rows(samples: pd.DataFrame, predictions: dict[str, np.ndarray]) -> pd.DataFrame:
    """The table of a value task's baselines: ``model`` first, then the columns of `value_rows`.

    ``predictions``: by baseline, for every row of ``samples``. A baseline has no row where its prediction is NaN.
    """
    tables = []
    for name, values in predictions.items():
        known = np.isfinite(values.reshape(len(samples), -1)).all(axis=1)
        tables.append(value_rows(samples[known], values[known]).assign(model=name))
    rows = pd.concat(tables)
    rows.insert(0, "model", rows.pop("model"))
    return rows


def overlap_rows(
    samples: pd.DataFrame,
    predicted: Iterable[np.ndarray],
    reference: Iterable[np.ndarray],
    spacing_mm: float,
    surfaces: Callable[[np.ndarray, np.ndarray, list[float]], list[dict]] | None = None,
) -> pd.DataFrame:
    """The table of a segmentation: Dice and volumes on the study's grid (mL) by scan and tissue.

    ``predicted``, ``reference``: a label map (X, Y, Z) for each row of ``samples``, 1 CSF, 2 GM, 3 WM; two at a time are held.
    ``surfaces``: what else to measure of the two maps, given the three voxel sizes in mm, a record a tissue.
    """
    rows, voxel_ml = [], spacing_mm**3 / 1000
    records = samples[ID_COLUMNS].to_dict("records")
    for sample, predicted_labels, reference_map in zip(records, predicted, reference, strict=True):
        more = surfaces(predicted_labels, reference_map, [spacing_mm] * 3) if surfaces else [{}] * len(TISSUES)
        for label, (tissue, further) in enumerate(zip(TISSUES, more, strict=True), start=1):
            found, true = predicted_labels == label, reference_map == label
            volumes = {
                "volume_ml": round(int(found.sum()) * voxel_ml, 3),
                "reference_ml": round(int(true.sum()) * voxel_ml, 3),
            }
            rows.append(sample | {"tissue": tissue.upper(), "dice": round(dice(found, true), 6)} | volumes | further)
    return pd.DataFrame(rows)


def in_turn(count: int, done: str) -> Iterator[int]:
    """0 to ``count`` - 1, showing how many scans were ``done`` (such as "predicted"): a bar on a terminal, else a line on
    standard error every ten seconds."""
    if (terminal := terminal_stream()) is not None:
        from tqdm import tqdm

        yield from tqdm(range(count), desc=done, unit="scan", leave=False, file=terminal)
        return
    began = last = time.monotonic()
    for index in range(count):
        yield index
        if (now := time.monotonic()) - last >= LINE_EVERY_S:
            last = now
            rate = (index + 1) / (now - began)
            print(f"{done} {index + 1} of {count} scans, {rate:.2f} a second", file=sys.stderr, flush=True)


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
    network = precision.arranged(network.eval())
    for _, scan in zip(in_turn(len(samples), "predicted"), packed.each_image(samples), strict=True):
        images = torch.from_numpy(scan)[None].to(device)
        with torch.inference_mode():
            inputs = precision.arranged(to_input(images, intensity["mean"], intensity["deviation"]))
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
