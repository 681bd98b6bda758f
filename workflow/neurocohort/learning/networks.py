"""Networks by name: SFCN and a residual encoder U-Net are our own, the others MONAI's."""

import math
from typing import Any

import torch
from torch import nn

from neurocohort.errors import InputError
from neurocohort.learning.architectures import ARCHITECTURES, RESIDUAL_UNET

GROUPS = 8


class SFCN(nn.Module):
    """The simple fully convolutional network of Peng et al. 2021 (Medical Image Analysis 68, 101871).

    Five blocks of 3 x 3 x 3 convolution, batch norm (or group norm), max pooling and ReLU, one of 1 x 1 x 1 convolution, then
    the average over the volume, dropout and a linear head. Input (N, inputs, X, Y, Z) with each side at least 32; output
    (N, outputs), logits.
    """

    def __init__(self, inputs: int, channels: list[int], outputs: int, dropout: float, norm: str):
        super().__init__()
        layers: list[nn.Module] = []
        previous = inputs
        for width in channels[:-1]:
            layers += [nn.Conv3d(previous, width, 3, padding=1, bias=False), _norm(norm, width)]
            layers += [nn.MaxPool3d(2), nn.ReLU()]
            previous = width
        layers += [nn.Conv3d(previous, channels[-1], 1, bias=False), _norm(norm, channels[-1]), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(dropout))
        self.classifier = nn.Linear(channels[-1], outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.head(self.features(images)))


def _norm(norm: str, width: int) -> nn.Module:
    return nn.BatchNorm3d(width) if norm == "batch" else nn.GroupNorm(math.gcd(width, GROUPS), width)


def build_network(name: str, channels: list[int] | None, outputs: int, *, inputs: int = 1, **options: Any) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: A key of `architectures.ARCHITECTURES`.
        channels: Channels of each level; None for the published ones.
        outputs: Output channels, or values.
        inputs: Input channels.
        options: Of `architectures.Shape`: dropout, norm and deep_supervision.
    """
    architecture = ARCHITECTURES[name]
    shape = architecture.shape(channels, inputs, outputs, **options)
    if architecture.target == SFCN.__name__:
        return SFCN(**architecture.arguments(shape))
    if architecture.target == RESIDUAL_UNET:
        from neurocohort.learning.residual_unet import ResidualEncoderUNet  # it imports MONAI

        return ResidualEncoderUNet(**architecture.arguments(shape))
    from monai.networks import nets  # slow to import, and not needed for an SFCN

    return getattr(nets, architecture.target)(**architecture.arguments(shape))


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
