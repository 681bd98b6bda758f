"""The network, as neurocohort trained it."""

import math

import torch
from torch import nn

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
