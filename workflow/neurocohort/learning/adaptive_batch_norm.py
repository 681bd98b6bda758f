"""Adaptive batch normalisation: a network's batch statistics recomputed from the scans of a new site, without their labels (Li et
al. 2018, Pattern Recognition 80, 109-117).

Every layer of batch norm gets the mean and the variance of its input over all scans of the site, once the layers before it have
theirs. One batch of all these scans would be normalised by the same in training mode. They are computed layer by layer, from one
scan at a time, and summed in float64 in the order of the scans' names. So neither the order of the rows nor a batch size matters.
"""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from neurocohort.dataset.folds import EXTERNAL
from neurocohort.errors import InputError
from neurocohort.learning.data import PackedImages, to_input
from neurocohort.learning.inference import LEFT_RIGHT, predict
from neurocohort.learning.model_files import Model
from neurocohort.learning.precision import FLOAT32, choose_precision, set_up_torch
from neurocohort.learning.prediction_tables import value_rows
from neurocohort.learning.scan_order import site_groups
from neurocohort.settings.adaptation import FEWEST_SITE_SCANS

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Reached(Exception):
    """Raised where a forward pass has reached the layer that is measured."""


def adapted_predictions(model: Model, samples: pd.DataFrame, packed: PackedImages) -> pd.DataFrame:
    """The predictions of external scans by ``model``, with the batch statistics of each scan's own site.

    Sites of two cohorts are two, and the scans of a cohort whose site isn't known are one. A site with fewer than
    `FEWEST_SITE_SCANS` scans has no rows.

    Args:
        model: The trained network, with batch norm.
        samples: Rows of samples.tsv; those of the part ``external`` are predicted.
        packed: Their volumes.

    Returns:
        Rows as of `value_rows`, in the order of ``samples``; without any row where all sites are too small.
    """
    external = samples[samples["part"] == EXTERNAL].reset_index(drop=True)
    groups = site_groups(external)
    found = []
    for group in sorted(set(groups)):
        rows = external[groups == group]
        if len(rows) < FEWEST_SITE_SCANS:
            print(
                f"{group}: {len(rows)} scan(s), fewer than {FEWEST_SITE_SCANS}; its statistics are not recomputed",
                flush=True,
            )
            continue
        adapted = adapted_model(model, rows.reset_index(drop=True), packed)
        found.append(value_rows(rows, predict(adapted, rows, packed)).set_index(rows.index))
        print(f"{group}: batch statistics of {len(rows)} scans", flush=True)
    if not found:
        return value_rows(external.head(0), np.zeros(0))
    return pd.concat(found).sort_index().reset_index(drop=True)


def adapted_model(model: Model, samples: pd.DataFrame, packed: PackedImages) -> Model:
    """A copy of ``model`` with the batch statistics of the scans of ``samples``, whatever their order.

    Raises InputError for a network without batch norm.
    """
    settings = model.settings.model_copy(update={"precision": FLOAT32})
    set_up_torch(settings.threads, model.device, FLOAT32)
    precision = choose_precision(settings, model.device)
    network = precision.to_memory_format(copy.deepcopy(model.network).eval())
    adapted = Model(network, model.task, model.settings, model.intensity, model.device)
    ordered = samples.sort_values(["cohort", "scan_id"], kind="stable", ignore_index=True)
    layers = _layers_in_order(adapted, ordered, packed)
    if not layers:
        raise InputError(
            f"`adaptation.batch_norm` is true, and the network {model.settings.network} has no batch norm whose statistics could "
            "be recomputed; leave the key out, or choose a network with batch norm."
        )
    for layer in layers:
        mean, variance = _statistics(adapted, layer, ordered, packed)
        layer.get_buffer("running_mean").copy_(mean)
        layer.get_buffer("running_var").copy_(variance)
    return adapted


def _layers_in_order(model: Model, samples: pd.DataFrame, packed: PackedImages) -> list[nn.Module]:
    """The layers of batch norm in the order in which a scan passes through them."""
    reached: list[nn.Module] = []
    handles = [
        layer.register_forward_pre_hook(lambda own, _: reached.append(own))
        for layer in model.network.modules()
        if isinstance(layer, BATCH_NORMS) and layer.track_running_stats
    ]
    try:
        with torch.inference_mode():
            model.network(next(_inputs(model, samples.head(1), packed)))
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(reached))


def _statistics(
    model: Model, layer: nn.Module, samples: pd.DataFrame, packed: PackedImages
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and the variance of each channel of the input of ``layer`` over all voxels of all scans, (channels,) float64."""
    sums: list[torch.Tensor] = []

    def measure(_: nn.Module, given: Sequence[torch.Tensor]) -> None:
        values = given[0].double().transpose(0, 1).flatten(1)
        sums.append(
            torch.stack([values.sum(dim=1), values.square().sum(dim=1), torch.full_like(values[:, 0], values.shape[1])])
        )
        raise _Reached

    handle = layer.register_forward_pre_hook(measure)
    try:
        with torch.inference_mode():
            for inputs in _inputs(model, samples, packed):
                try:
                    model.network(inputs)
                except _Reached:
                    continue
    finally:
        handle.remove()
    total, squares, count = torch.stack(sums).sum(dim=0)
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0)


def _inputs(model: Model, samples: pd.DataFrame, packed: PackedImages) -> Iterator[torch.Tensor]:
    """Yield the input of each scan, (1, C, X, Y, Z), and with `mirror_averaging` that of its mirror image."""
    for scan in packed.each_image(samples):
        inputs = to_input(torch.from_numpy(np.asarray(scan))[None].to(model.device), model.intensity)
        yield inputs
        if model.settings.mirror_averaging:
            yield inputs.flip(LEFT_RIGHT)
