"""Starting from the weights of another network: which tensors are copied, and which stages learn in which epoch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neurocohort.architectures import ARCHITECTURES
from neurocohort.architectures.facts import Stages
from neurocohort.errors import InputError
from neurocohort.learning.constants import RUN
from neurocohort.learning.networks import load_weights, weights_of
from neurocohort.learning.settings import TrainingSettings
from neurocohort.structures import TISSUES

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".tar")
NAMED = 4  # tensors that a message names; the others are counted


def take_weights(network: nn.Module, path: Path, structures: Sequence[str] | None = None) -> str:
    """Copy the tensors of the safetensors file ``path`` that match a tensor of ``network`` in name and shape.

    Tensors without a match, such as a head for other classes, keep their random weights.

    Args:
        network: The network that is to be trained.
        path: The weights.
        structures: What a segmentation predicts, label 1 first; None for other tasks. If the run.json next to ``path`` has other
            structures, or the same in another order, the last layer is not taken, although it may have the same shape.

    Returns:
        A line about what was taken.

    Raises:
        InputError: If the file is absent, isn't a safetensors file, or has no parameter in common with the network.
    """
    given, own = _read(path), weights_of(network)
    taken = {name: given[name] for name, tensor in own.items() if name in given and given[name].shape == tensor.shape}
    parameters = {name for name, _ in network.named_parameters()}
    if not parameters & set(taken):
        raise InputError(
            f"{path} has no tensor with the name and shape of one of this network's; it has {_few(sorted(given))}, the "
            f"network {_few(sorted(own))}. Give the weights of the same `network`."
        )
    there = _structures_beside(path) if structures is not None else None
    head = _head_names(network) & set(taken) if there and there != tuple(structures or ()) else set()
    taken = {name: tensor for name, tensor in taken.items() if name not in head}
    load_weights(network, own | taken)
    left = [
        f"{name} ({_shape(given[name])} there, {_shape(tensor)} here)" if name in given else f"{name} (not there)"
        for name, tensor in own.items()
        if name not in taken and name not in head
    ]
    left += [f"{name} (of other structures: {_few(list(there or ()))})" for name in sorted(head)]
    return f"weights from {path}: {len(taken)} of {len(own)} tensors taken; left fresh: {_few(left) or 'none'}"


def check_freezing(settings: TrainingSettings) -> None:
    """Raise InputError where stages with random weights would be frozen."""
    if not settings.weights and (settings.frozen_epochs or settings.thaw_epochs):
        raise InputError(
            f"`frozen_epochs` is {settings.frozen_epochs} and `thaw_epochs` {settings.thaw_epochs} without `weights` to start "
            "from: the frozen stages would keep their random weights. Give `weights`, or leave both at 0."
        )


def learning_stages(settings: TrainingSettings, count: int, epoch: int) -> int:
    """The number of the ``count`` stages, counted from the head, that learn in ``epoch`` (from 0).

    The head only for ``frozen_epochs``; then one more, and another one after every ``thaw_epochs``, or all at once where that is
    0. For two frozen epochs and a thaw every three: 1, 1, 2, 2, 2, 3, 3, 3, 4, ...
    """
    if not settings.weights:
        return count
    if epoch < settings.frozen_epochs:
        return 1
    if not settings.thaw_epochs:
        return count
    return min(count, 2 + (epoch - settings.frozen_epochs) // settings.thaw_epochs)


def set_learning(parts: list[nn.ModuleList], learning: int) -> None:
    """Let the last ``learning`` stages learn, in training mode; the others keep their weights and batch statistics."""
    for index, part in enumerate(parts):
        learns = index >= len(parts) - learning
        part.requires_grad_(learns).train(learns)


def stages(network: nn.Module) -> list[nn.ModuleList]:
    """The parts of ``network`` that are frozen and thawed together, from input to head; each parameter is in one of them."""
    return [nn.ModuleList(part) for part in _stages(network)]


def _stages(network: Any) -> Stages:
    match type(network).__name__:
        case "MaskedAutoencoder":
            return [*_stages(network.encoder), [network.decoder]]
        case "ContrastiveNetwork":
            return [*_stages(network.encoder), [network.projection]]
        case "GenerativeNetwork":
            return [[network]]
        case "PairedWithDiscriminator" | "CycleGan":
            return [[network]]  # all parts learn together
        case "AdversarialNetwork":
            *body, last = _stages(network.network)
            return [*body, [*last, network.head, network.site_classifier]]
        case name:
            by_class = {one.type_name: one.stages for one in ARCHITECTURES.values()}
            return by_class[name](network)


def _structures_beside(path: Path) -> tuple[str, ...] | None:
    """The structures of the training that wrote ``path``, from its run.json; None for other tasks, and if there is no record."""
    record = path.with_name(RUN)
    if not record.is_file():
        return None
    settings = json.loads(record.read_text(encoding="utf-8")).get("settings", {})
    if settings.get("task") != "segmentation":
        return None
    return tuple(settings.get("structures") or TISSUES)


def _head_names(network: nn.Module) -> set[str]:
    """The names of the tensors of the last stage."""
    head = {id(parameter) for parameter in stages(network)[-1].parameters()}
    return {name for name, parameter in network.named_parameters(remove_duplicate=False) if id(parameter) in head}


def _read(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix.lower() in PICKLES:
        raise InputError(
            f"`weights: {path}` is a pickle by its ending, and a pickle can run any program when it is read; expected a "
            "safetensors file. Convert it if you trust it: safetensors.torch.save_file(torch.load(path), new_path)."
        )
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"`weights: {path}` is not there; expected a safetensors file.") from error
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"`weights: {path}` can't be read as safetensors ({error}); expected a file such as model.safetensors of "
            "another experiment."
        ) from error


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one value"
