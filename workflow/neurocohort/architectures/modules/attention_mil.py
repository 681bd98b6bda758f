"""Attention-based multiple-instance learning for volumes. A bundle contains a copy of this module."""

import math
from collections.abc import Sequence

import torch
from torch import nn

GROUPS = 8


class AttentionMIL(nn.Module):
    """Gated attention over the cubes of a volume (Ilse et al. 2018, International Conference on Machine Learning).

    The volume is divided into cubes, the instances. One small convolutional encoder turns each into features. Their weights are a
    softmax of a gated perceptron of the features; the weighted mean of the features goes through a linear head. Cubes of one
    value, such as those outside of the head, get no weight. Neither encoder nor weights know where a cube is.

    ``attention`` has the weights on the grid of the cubes, (N, 1, X / side, Y / side, Z / side), which add up to 1; ``volume``
    has the features on it.

    Args:
        inputs: Input channels.
        channels: Of each level of the encoder; between two levels the cube is halved.
        outputs: Values for a scan.
        side: Of a cube, voxels.
        dropout: Fraction of the features that is dropped at random in training.
    """

    def __init__(self, inputs: int, channels: Sequence[int], outputs: int, side: int, dropout: float):
        super().__init__()
        self.side, width = side, channels[-1]
        self.encoder = Encoder(inputs, channels, side)
        self.gate = Gate(width)
        self.attention, self.volume = nn.Identity(), nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, inputs, X, Y, Z), sides that are multiples of the cube's, to (N, outputs)."""
        if any(side % self.side for side in images.shape[2:]):
            raise ValueError(f"the volume has {tuple(images.shape[2:])} voxels; expected multiples of {self.side}")
        cubes, grid = divided(images, self.side)
        features = self.encoder(cubes.flatten(0, 1)).unflatten(0, cubes.shape[:2])  # (N, cubes, width)
        scores = self.gate(features).float().masked_fill(~with_content(cubes), -math.inf)
        weights = self.attention(torch.softmax(scores, dim=1).unflatten(1, (1, *grid))).flatten(1)
        volume = self.volume(features.transpose(1, 2).unflatten(2, grid))
        pooled = torch.einsum("nk,nck->nc", weights.to(volume.dtype), volume.flatten(2))
        return self.classifier(self.dropout(pooled))


class Encoder(nn.Module):
    """The features of cubes, (K, inputs, side, side, side) to (K, width): convolution, group norm and ReLU on each level."""

    def __init__(self, inputs: int, channels: Sequence[int], side: int):
        super().__init__()
        layers: list[nn.Module] = []
        for level, width in enumerate(channels):
            if level and side > 1:
                layers.append(nn.MaxPool3d(2))
                side //= 2
            before = channels[level - 1] if level else inputs
            layers += [nn.Conv3d(before, width, 3, padding=1, bias=False), nn.GroupNorm(math.gcd(width, GROUPS), width)]
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten())

    def forward(self, cubes: torch.Tensor) -> torch.Tensor:
        return self.layers(cubes)


class Gate(nn.Module):
    """The scores of gated attention, (N, K, width) to (N, K)."""

    def __init__(self, width: int):
        super().__init__()
        self.value, self.gate, self.score = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.score(torch.tanh(self.value(features)) * torch.sigmoid(self.gate(features)))[..., 0]


def divided(images: torch.Tensor, side: int) -> tuple[torch.Tensor, list[int]]:
    """The cubes (N, K, C, side, side, side) of images (N, C, X, Y, Z), and their number along each axis."""
    grid = [whole // side for whole in images.shape[2:]]
    parts = images.reshape(*images.shape[:2], grid[0], side, grid[1], side, grid[2], side)
    return parts.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(1, 3), grid


def with_content(cubes: torch.Tensor) -> torch.Tensor:
    """Whether each cube (N, K, ...) has more than one value in a channel, (N, K) bool; all, where none of a scan has."""
    voxels = cubes.flatten(3)
    varies = (voxels.amax(dim=3) > voxels.amin(dim=3)).any(dim=2)
    return varies | ~varies.any(dim=1, keepdim=True)
