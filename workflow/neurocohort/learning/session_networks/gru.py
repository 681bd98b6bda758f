"""A gated recurrent unit over the sessions of a participant (Cho et al. 2014)."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

TITLE = "a gated recurrent unit (GRU) [@cho2014]"


class SessionNetwork(nn.Module):
    """A GRU whose state after the last session is mapped to the prediction.

    The times are among the columns of each session, so that ``years`` isn't used.
    """

    def __init__(self, inputs: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.recurrent = nn.GRU(inputs, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(width, 1)

    def forward(self, values: torch.Tensor, years: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The prediction of each participant, (participants,); see the package for the shapes."""
        packed = pack_padded_sequence(values, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        state = self.recurrent(packed)[1][-1]
        found: torch.Tensor = self.last(self.dropout(state)).squeeze(-1)
        return found
