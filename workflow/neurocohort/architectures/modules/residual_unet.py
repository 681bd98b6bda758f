"""A U-Net with nnU-Net's residual encoder, built from MONAI's blocks. A bundle contains a copy of this module."""

import torch
from monai.networks.blocks import Convolution
from monai.networks.blocks.dynunet_block import UnetResBlock
from torch import nn
from torch.nn import functional

SLOPE = 0.01  # of the leaky ReLU for negative values
NORM = ("instance", {"affine": True})
ACTIVATION = ("leakyrelu", {"inplace": True, "negative_slope": SLOPE})


class ResidualEncoderUNet(nn.Module):
    """The residual encoder U-Net of nnU-Net (Isensee et al. 2024, nnU-Net Revisited).

    The encoder has more residual blocks in its deeper levels; the decoder has one convolution a level. The shortcut of a block
    that halves the grid is a convolution with stride 2, as everywhere in MONAI; nnU-Net averages 2 x 2 x 2 voxels instead.

    Args:
        in_channels: Input channels.
        out_channels: Output channels, logits.
        filters: Channels of each level, beginning at the input.
        blocks: Residual blocks of each level of the encoder.
        heads: Number of coarser levels of the decoder that have an output too in training (deep supervision).
    """

    def __init__(self, in_channels: int, out_channels: int, filters: list[int], blocks: list[int], heads: int = 0):
        super().__init__()
        self.stem = _convolution(in_channels, filters[0])
        self.encoder, previous = nn.ModuleList(), filters[0]
        for level, (width, count) in enumerate(zip(filters, blocks, strict=True)):
            first = UnetResBlock(3, previous, width, 3, 2 if level else 1, norm_name=NORM, act_name=ACTIVATION)
            others = [
                UnetResBlock(3, width, width, 3, 1, norm_name=NORM, act_name=ACTIVATION) for _ in range(count - 1)
            ]
            self.encoder.append(nn.Sequential(first, *others))
            previous = width
        pairs = list(zip(filters[1:], filters[:-1], strict=True))[
            ::-1
        ]  # from the coarsest level of the decoder to the finest
        self.upsampling = nn.ModuleList(nn.ConvTranspose3d(below, width, 2, 2) for below, width in pairs)
        self.decoder = nn.ModuleList(_convolution(2 * width, width) for _, width in pairs)
        self.output = nn.Conv3d(filters[0], out_channels, 1)
        self.heads = nn.ModuleList(nn.Conv3d(width, out_channels, 1) for width in filters[1 : 1 + heads])
        self.apply(_start)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, out_channels, X, Y, Z) of ``images`` (N, in_channels, X, Y, Z).

        In training with heads (N, 1 + heads, out_channels, X, Y, Z), the finest level first, like MONAI's DynUNet.
        """
        skipped, features = [], self.stem(images)
        for level in self.encoder:
            features = level(features)
            skipped.append(features)
        decoded = []
        for upsampling, convolution, skip in zip(self.upsampling, self.decoder, skipped[-2::-1], strict=True):
            features = convolution(torch.cat([upsampling(features), skip], dim=1))
            decoded.append(features)
        finest = self.output(features)
        if not (self.training and len(self.heads)):
            return finest
        coarser = [head(level) for head, level in zip(self.heads, decoded[-2::-1], strict=False)]
        return torch.stack([finest, *(functional.interpolate(one, finest.shape[2:]) for one in coarser)], dim=1)


def _convolution(inputs: int, outputs: int) -> nn.Module:
    return Convolution(3, inputs, outputs, kernel_size=3, adn_ordering="NDA", act=ACTIVATION, norm=NORM, bias=False)


def _start(module: nn.Module) -> None:
    """Random weights as in nnU-Net: He's; a residual block starts as its shortcut."""
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, UnetResBlock):
        nn.init.zeros_(module.norm2.weight)
