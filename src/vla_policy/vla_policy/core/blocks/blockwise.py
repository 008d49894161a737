"""Block-wise attention in the order in which it is written: what comes later never changes what came before.

Octo Model Team 2024, section III-A: observation tokens see the task and the observations up to their own time; readout
tokens see them too and are seen by nobody. Tokens are therefore computed in rings, each on the keys and values of the
rings that it sees. A ring that is added later can't disturb the older ones, not by a bit: they are computed without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.attention import EncoderBlock

TASK = -1  # time step of tokens that all others may see


@dataclass(frozen=True, slots=True)
class BlockwiseConfig:
    """A preset's `trunk` section."""

    width: int
    layers: int
    heads: int


class Ring(NamedTuple):
    """Tokens that are computed together.

    Attributes:
        moment: int64 (N,) time step of every token, or TASK.
        valid: bool (B,N); the others are not seen.
        hidden: (B,N,C) what has become of them.
        keys_values: (2,B,H,N,E) per layer; all that later rings need.
    """

    moment: Tensor
    valid: Tensor
    hidden: Tensor
    keys_values: tuple[Tensor, ...]


class BlockwiseTransformer(nn.Module):
    """The trunk; it knows nothing of what its tokens stand for."""

    def __init__(self, config: BlockwiseConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(EncoderBlock(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, moment: Tensor, valid: Tensor, sees: Sequence[Ring] = ()) -> Ring:
        """Run one ring.

        Args:
            tokens: (B,N,C) embedded.
            moment: int64 (N,), see Ring; a token sees those of its own and of earlier moments.
            valid: bool (B,N).
            sees: Rings that have been run; this one sees itself and them.
        """
        moments = torch.cat([*(ring.moment for ring in sees), moment])
        known = torch.cat([*(ring.valid for ring in sees), valid], 1)
        mask = ((moment[:, None] >= moments) & known[:, None])[:, None]
        x, kept = tokens, []
        for i, block in enumerate(self.blocks):
            assert isinstance(block, EncoderBlock)
            y = block.norm_self(x)
            own = block.attend_self.keys_values(y)
            kept.append(own)
            x = x + block.attend_self(y, torch.cat([*(ring.keys_values[i] for ring in sees), own], 3), mask)
            x = x + block.mlp(block.norm_mlp(x))
        return Ring(moment, valid, self.norm(x), tuple(kept))
