"""Predictions of held-out scans in which the regions of an atlas are hidden one at a time, by trained networks and random ones.

A hidden region has the mean image of the training part in place of the scan, with a smooth edge (occlusion: Zeiler and Fergus
2014). Voxels outside the scan's brain stay as they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from neurocohort.dataset.folds import EXTERNAL, HELD_OUT
from neurocohort.errors import InputError
from neurocohort.learning.data import PackedImages, to_input
from neurocohort.learning.inference import LEFT_RIGHT, trained_samples
from neurocohort.learning.model_files import Model
from neurocohort.learning.precision import FLOAT32, Precision, choose_precision, set_up_torch
from neurocohort.learning.training import network_of
from neurocohort.learning.windows import network_outputs
from neurocohort.progress import in_turn

EDGE_MM = 2.0  # standard deviation of the Gaussian that smooths the edge of a hidden region
EDGE_REACH = 3.0  # standard deviations at which it ends
MOST_AVERAGED = 200  # training scans in the mean image
BATCH = 8

# What a network predicts: (scans, values) of whole scans, and (scans, regions, values) with each region hidden. A regression has
# one value, a classification the probabilities of the classes; they are NaN for scans that the network doesn't test.
Answers = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class HiddenRegion:
    """A region to hide: its ``box`` in the volume, and how much of each voxel there is replaced, 0 to 1."""

    box: tuple[slice, ...]
    weights: np.ndarray


def hidden_regions(labels: np.ndarray, numbers: list[int], spacing_mm: float) -> list[HiddenRegion]:
    """The regions ``numbers`` of a label map (X, Y, Z) with smooth edges."""
    sigma = EDGE_MM / spacing_mm
    margin = int(np.ceil(EDGE_REACH * sigma))
    boxes, found = ndimage.find_objects(labels), []
    for number in numbers:
        box = tuple(
            slice(max(0, one.start - margin), min(side, one.stop + margin))
            for one, side in zip(boxes[number - 1], labels.shape, strict=True)
        )
        inside = (labels[box] == number).astype(np.float32)
        found.append(HiddenRegion(box, ndimage.gaussian_filter(inside, sigma, mode="constant", truncate=EDGE_REACH)))
    return found


def scans_to_test(samples: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """At most ``count`` random rows of ``samples`` that are held out, of any test fold, in their order.

    Raises InputError where there is none.
    """
    held_out = samples["part"] == HELD_OUT
    if "test_fold" in samples:
        held_out = (samples["part"] != EXTERNAL) & samples["test_fold"].notna()
    rows = samples[held_out].reset_index(drop=True)
    if rows.empty:
        raise InputError("there is no held-out scan to hide regions in: see flow.tsv, or leave out `saliency.regions`.")
    drawn = np.random.default_rng(seed).permutation(len(rows))[:count]
    return rows.iloc[np.sort(drawn)].reset_index(drop=True)


def mean_image(model: Model, samples: pd.DataFrame, packed: PackedImages, seed: int) -> np.ndarray:
    """The mean intensity of the scans that a network was trained on, (C, X, Y, Z) float32 in levels, over at most MOST_AVERAGED.

    Only voxels inside a scan's brain count; where no scan has brain it is the mean of the channel.
    """
    rows = trained_samples(samples, model.settings.fold, model.settings.test_fold)
    drawn = np.random.default_rng(seed).permutation(len(rows))[:MOST_AVERAGED]
    total: np.ndarray | None = None
    count: np.ndarray | None = None
    for image in packed.each_image(rows.iloc[np.sort(drawn)]):
        inside = image > 0
        total = image.astype(np.float64) if total is None else total + image
        count = inside.astype(np.int64) if count is None else count + inside
    if total is None or count is None:
        raise InputError(
            "a network has no training scan of which a mean image could be made: see the experiment's flow.tsv."
        )
    outside = np.asarray(model.intensity.mean)[:, None, None, None]
    return np.where(count > 0, total / np.maximum(count, 1), outside).astype(np.float32)


def random_network(model: Model, seed: int) -> Model:
    """``model`` with random weights from ``seed``."""
    torch.manual_seed(seed)
    return replace(model, network=network_of(model.settings, model.task).to(model.device).eval())


def answers(
    model: Model, scans: pd.DataFrame, packed: PackedImages, fill: np.ndarray, regions: list[HiddenRegion], name: str
) -> Answers:
    """What a network predicts for ``scans`` with each of the ``regions`` hidden, computed in float32.

    Args:
        model: The network.
        scans: Rows of samples.tsv.
        packed: Their volumes.
        fill: What hidden voxels become, (C, X, Y, Z) in levels (`mean_image`).
        regions: The regions.
        name: Of the network, for the progress.
    """
    settings = model.settings.model_copy(update={"precision": FLOAT32})
    set_up_torch(settings.threads, model.device, settings.precision)
    precision = choose_precision(settings, model.device)
    own = replace(model, network=precision.to_memory_format(model.network.eval()), settings=settings)
    filling = to_input(torch.from_numpy(fill)[None].to(model.device), model.intensity)[0]
    weights = [torch.from_numpy(region.weights).to(model.device) for region in regions]
    # Computed on the device, like the scans: a GPU's division differs from a CPU's in the last bit.
    nothing = torch.zeros(1, len(model.intensity.mean), 1, 1, 1, device=model.device)
    outside = to_input(nothing, model.intensity)
    plain, hidden = [], []
    for _, image in zip(in_turn(len(scans), f"hid regions in ({name})"), packed.each_image(scans), strict=True):
        with torch.inference_mode():
            inputs = to_input(torch.from_numpy(image)[None].to(model.device), model.intensity)
            inside = (inputs != outside)[0]
            plain.append(_values(own, precision, inputs)[0])
            found = []
            for start in range(0, len(regions), BATCH):
                chosen = range(start, min(start + BATCH, len(regions)))
                copies = inputs.repeat(len(chosen), 1, 1, 1, 1)
                for copy, number in zip(copies, chosen, strict=True):
                    box = (slice(None), *regions[number].box)
                    copy[box] += weights[number] * inside[box] * (filling[box] - copy[box])
                found.append(_values(own, precision, copies))
            hidden.append(np.concatenate(found))
    return np.stack(plain), np.stack(hidden)


def answers_of_members(
    models: Iterable[tuple[str, Model]],
    scans: pd.DataFrame,
    samples: pd.DataFrame,
    packed: PackedImages,
    regions: list[HiddenRegion],
    seed: int,
) -> dict[str, Answers]:
    """`answers` of each trained network for those of ``scans`` that it tests: with test folds, those of its own.

    Args:
        models: Name and model of each; read one at a time.
        scans: Rows of `scans_to_test`.
        samples: All rows of samples.tsv, of which each network's training scans give its mean image.
        packed: Their volumes.
        regions: The regions.
        seed: Of the choice of training scans.
    """
    found = {}
    for name, model in models:
        fold = model.settings.test_fold
        own = np.ones(len(scans), dtype=bool)
        if fold:
            own = (pd.to_numeric(scans["test_fold"]) == fold).fillna(False).to_numpy(dtype=bool)
        if not own.any():
            continue
        fill = mean_image(model, samples, packed, seed)
        some = answers(model, scans[own].reset_index(drop=True), packed, fill, regions, name)
        plain, hidden = (np.full((len(scans), *part.shape[1:]), np.nan) for part in some)
        plain[own], hidden[own] = some
        found[name] = (plain, hidden)
    return found


def _values(model: Model, precision: Precision, inputs: torch.Tensor) -> np.ndarray:
    """Predicted values (N, 1) of a regression, or probabilities (N, classes), float64."""
    looks = [inputs, inputs.flip(LEFT_RIGHT)] if model.settings.mirror_averaging else [inputs]
    outputs = [
        model.task.predict(network_outputs(model.network, precision.to_memory_format(one.contiguous()), model.settings))
        for one in looks
    ]
    mean = torch.stack(outputs).mean(dim=0)
    return mean.reshape(len(inputs), -1).cpu().numpy().astype(np.float64)
