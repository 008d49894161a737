"""Parallel decoding: all K D action values of a chunk in one pass (Kim et al. 2025, OpenVLA-OFT, section IV).

Every value has a token; these see the prefix, and each other in both directions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.vlm import Read, SmallVlm

_SPREAD = 0.5  # of places at the start: what empty tokens have nothing else to be told apart by


class ParallelActions(nn.Module):
    """Learned places of K D action tokens, step after step, and their pass through a backbone."""

    def __init__(self, steps: int, dimensions: int, width: int) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.randn(steps, 1, width) * _SPREAD)
        self.dimension = nn.Parameter(torch.randn(1, dimensions, width) * _SPREAD)

    def forward(self, backbone: SmallVlm, read: Read, tokens: Tensor | None = None) -> Tensor:
        """States (B,K*D,width) of the action tokens.

        Args:
            backbone: Whose prefix it is. read: The prefix (B).
            tokens: (B,K*D,width) embedded; None: empty ones, which differ by nothing but their place.
        """
        places = (self.step + self.dimension).flatten(0, 1)
        embedded = places.expand(len(read.valid), -1, -1) if tokens is None else tokens + places
        both_ways = torch.ones(len(places), len(places), dtype=torch.bool, device=places.device)
        hidden, _ = backbone.extend(read, embedded, both_ways)
        return hidden
