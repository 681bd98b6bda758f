"""Networks by name, and their weights."""

from typing import Any

import torch
from torch import nn

from neurocohort.architectures import ARCHITECTURES, module_of
from neurocohort.errors import InputError


def build_network(name: str, channels: list[int] | None, outputs: int, *, inputs: int = 1, **options: Any) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: A key of `ARCHITECTURES`.
        channels: Channels of each level; None for the published ones.
        outputs: Output channels, or values.
        inputs: Input channels.
        options: Of `Shape`: dropout, norm, deep_supervision and patch_size.
    """
    architecture = ARCHITECTURES[name]
    shape = architecture.shape(channels, inputs, outputs, **options)
    network_class = getattr(module_of(architecture), architecture.target.rpartition(".")[2])
    return network_class(**architecture.arguments(shape))


def weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and batch statistics by name, each once: DynUNet has two names for each layer."""
    once = {name for name, _ in (*network.named_parameters(), *network.named_buffers())}
    return {name: tensor for name, tensor in network.state_dict().items() if name in once}


def copied_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of `weights_of` on the CPU in contiguous memory format."""
    return {
        name: tensor.detach().to(device="cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in weights_of(network).items()
    }


def load_weights(network: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load weights that `weights_of` returned into ``network``. Raises InputError where names or shapes differ."""
    expected = weights_of(network)
    differing = sorted(set(expected) ^ set(weights))
    differing += [name for name in expected if name in weights and expected[name].shape != weights[name].shape]
    if differing:
        raise InputError(
            f"the weights don't fit the network: {len(differing)} tensors differ, such as {differing[0]}. They were made with "
            "other settings or another version; train it again."
        )
    network.load_state_dict(weights, strict=False)  # not strict: DynUNet's second names are missing
