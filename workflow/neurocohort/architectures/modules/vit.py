"""A Vision Transformer for volumes, built from MONAI's blocks. A bundle contains a copy of this module."""

from collections.abc import Sequence

import torch
from monai.networks.blocks.mlp import MLPBlock
from monai.networks.blocks.selfattention import SABlock
from torch import nn

MLP_RATIO = 4  # channels inside the block's perceptron, relative to its width
LONGEST_WAVE = 10_000.0  # of the positions, in radians; the shortest is 1


class VisionTransformer(nn.Module):
    """A plain Vision Transformer (Dosovitskiy et al. 2021) as simplified by Beyer et al. 2022 (arXiv 2205.01580).

    The tokens are the linear projections of patches. Their positions are sines and cosines, which are no parameters, so that one
    network takes every grid that its patches divide. The tokens are averaged, and a linear head maps them to the outputs.
    ``volume`` has the tokens on their grid, (N, width, X / patch, Y / patch, Z / patch), for Grad-CAM.

    Args:
        in_channels: Input channels.
        out_channels: Values for a scan.
        patch_size: Side of a patch, voxels.
        width: Channels of a token; a multiple of 6 and of ``heads``.
        depth: Number of blocks.
        heads: Attention heads of a block.
        dropout: Fraction of the features that is dropped at random in training.
    """

    def __init__(
        self, in_channels: int, out_channels: int, patch_size: int, width: int, depth: int, heads: int, dropout: float
    ):
        super().__init__()
        self.width, self.patch_size = width, patch_size
        self.embedding = nn.Conv3d(in_channels, width, patch_size, stride=patch_size)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.volume = nn.Identity()
        self.classifier = nn.Linear(width, out_channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, X, Y, Z), sides that are multiples of the patch, to (N, out_channels)."""
        if any(side % self.patch_size for side in images.shape[2:]):
            raise ValueError(
                f"the volume has {tuple(images.shape[2:])} voxels; expected multiples of {self.patch_size}"
            )
        patches = self.embedding(images)
        grid = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2) + positions(grid, self.width, patches)
        for block in self.blocks:
            tokens = block(tokens)
        volume = self.volume(self.norm(tokens).transpose(1, 2).unflatten(2, grid))
        return self.classifier(volume.mean(dim=(2, 3, 4)))


class Block(nn.Module):
    """Self-attention and a perceptron, each after a layer norm and added to its input."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.attention_norm, self.perceptron_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SABlock(width, heads, dropout, qkv_bias=True, use_flash_attention=True)
        self.perceptron = MLPBlock(width, MLP_RATIO * width, dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.perceptron(self.perceptron_norm(tokens))


def positions(grid: Sequence[int], width: int, like: torch.Tensor) -> torch.Tensor:
    """The positions of tokens on a grid, (tokens, width): a sixth of the width each for sine and cosine of x, y and z."""
    count = width // 6
    frequencies = LONGEST_WAVE ** -(torch.arange(count, device=like.device) / count)
    axes = [torch.arange(side, device=like.device, dtype=torch.float32) for side in grid]
    angles = [places.flatten()[:, None] * frequencies for places in torch.meshgrid(*axes, indexing="ij")]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1).to(like.dtype)
