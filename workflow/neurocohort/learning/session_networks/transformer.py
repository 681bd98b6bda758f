"""A small transformer encoder over the sessions of a participant (Vaswani et al. 2017), which knows the time of each session."""

import torch
from torch import nn

TITLE = "a transformer encoder [@vaswani2017] with a sinusoidal encoding of the time in years"
HEADS = 2
LONGEST_PERIOD_YEARS, SHORTEST_PERIOD_YEARS = 64.0, 1.0  # of the encoding


class SessionNetwork(nn.Module):
    """An encoder whose output at the last session, which attends to all of them, is mapped to the prediction."""

    def __init__(self, inputs: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.last = nn.Linear(width, 1)
        self.width = width

    def forward(self, values: torch.Tensor, years: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The prediction of each participant, (participants,); see the package for the shapes."""
        encoded = self.encoder(self.first(values) + encoded_years(years, self.width), src_key_padding_mask=~mask)
        end = mask.sum(dim=1) - 1
        found: torch.Tensor = self.last(encoded[torch.arange(len(values)), end]).squeeze(-1)
        return found


def encoded_years(years: torch.Tensor, width: int) -> torch.Tensor:
    """Sines and cosines of the years at periods from 64 years to one, (participants, sessions, width); ``width`` is even."""
    step = torch.arange(width // 2) / max(width // 2 - 1, 1)
    periods = LONGEST_PERIOD_YEARS * (SHORTEST_PERIOD_YEARS / LONGEST_PERIOD_YEARS) ** step
    angles = 2 * torch.pi * years[..., None] / periods
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
