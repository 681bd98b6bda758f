"""The encoder of MONAI's Swin UNETR with a linear head. A bundle contains a copy of this module."""

import torch
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn
from torch.nn import functional

DEPTHS, HEADS = (2, 2, 2, 2), (3, 6, 12, 24)  # those of SwinUNETR, like the other sizes
PATCH, WINDOW = 2, 7  # voxels, and tokens


class SwinEncoder(nn.Module):
    """The Swin transformer of Swin UNETR (Hatamizadeh et al. 2022), the average over the volume, and a linear head.

    Its tensors have the names that they have in SwinUNETR, so that one can start from the weights of the other. ``levels`` have
    the features after the patches and after each of the four stages, (N, C, X / 2^k, Y / 2^k, Z / 2^k), for Grad-CAM.

    Args:
        in_channels: Input channels.
        out_channels: Values for a scan.
        feature_size: Channels of the first level, a multiple of 12; 16 times as many are averaged.
        dropout: Fraction of the features that is dropped at random in training.
    """

    def __init__(self, in_channels: int, out_channels: int, feature_size: int, dropout: float):
        super().__init__()
        self.swinViT = SwinTransformer(
            in_chans=in_channels,
            embed_dim=feature_size,
            window_size=(WINDOW,) * 3,
            patch_size=(PATCH,) * 3,
            depths=DEPTHS,
            num_heads=HEADS,
            drop_rate=dropout,
        )
        self.levels = nn.ModuleList(nn.Identity() for _ in range(1 + len(DEPTHS)))
        self.classifier = nn.Linear(feature_size * 2 ** len(DEPTHS), out_channels)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, in_channels, X, Y, Z) to (N, out_channels). Odd sides are padded before they are halved."""
        swin = self.swinViT
        features = self.levels[0](swin.pos_drop(swin.patch_embed(images)))
        stages = (swin.layers1, swin.layers2, swin.layers3, swin.layers4)
        for stage, level in zip(stages, self.levels[1:], strict=True):
            features = level(stage[0](features.contiguous()))
        averaged = functional.layer_norm(features.movedim(1, -1), features.shape[1:2]).mean(dim=(1, 2, 3))
        return self.classifier(averaged)
