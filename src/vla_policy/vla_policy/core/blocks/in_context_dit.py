"""Diffusion transformer with its condition as a token of the sequence (Peebles & Xie 2023, in-context conditioning).

CogACT (Li et al. 2024, section 3.2 and its released code) conditions this way and not by adaLN: condition and diffusion
step are added up, stand in front of the noisy actions, and all see each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.attention import EncoderBlock, learned
from vla_policy.core.blocks.sinusoid import sinusoid
from vla_policy.core.systems.sizes import Sizes


@dataclass(frozen=True, slots=True)
class InContextDitConfig:
    """Sizes; DiT-Base, the paper's, has width 768, 12 layers and 12 heads."""

    width: int
    layers: int
    heads: int


class InContextDit(nn.Module):
    """What a diffusion process asks for, of a noisy chunk.

    Args:
        config: Sizes.
        sizes: Of the chunk.
        condition: Width of the condition.
    """

    def __init__(self, config: InContextDitConfig, sizes: Sizes, condition: int) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.action, self.condition = nn.Linear(sizes.action_width, width), nn.Linear(condition, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.place = learned(1, 1 + sizes.horizon, width)
        self.blocks = nn.ModuleList(EncoderBlock(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, sizes.action_width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, actions: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Noisy actions (B,T,D), diffusion steps (B,) and the condition (B,W) to (B,T,D)."""
        first = self.time(sinusoid(time, self.config.width)) + self.condition(condition)
        x = torch.cat([first[:, None], self.action(actions)], 1) + self.place
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.out(self.norm(x[:, 1:]))
        return out
