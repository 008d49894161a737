"""TokenLearner (Ryoo et al. 2021; Brohan et al. 2022, RT-1, section 5.1): many cells to a few tokens.

Each token is a mean of the cells, with weights of its own that depend on what the cells hold.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.attention import mlp

_GAIN = 2.0  # so that the first maps differ: means over all cells tell nothing, and learn nothing


class TokenLearner(nn.Module):
    """N cells to `tokens` tokens by as many softmax maps over the cells."""

    def __init__(self, width: int, tokens: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.choose = mlp(width, hidden, tokens)
        for layer in self.choose:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight, _GAIN)

    def weights(self, cells: Tensor) -> Tensor:
        """Cells (B,N,C) to (B,tokens,N), each row a distribution over the cells."""
        return torch.softmax(self.choose(self.norm(cells)).transpose(1, 2), -1)

    def forward(self, cells: Tensor) -> Tensor:
        """(B,N,C) to (B,tokens,C)."""
        return self.weights(cells) @ cells
