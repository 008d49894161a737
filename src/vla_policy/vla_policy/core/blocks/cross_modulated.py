"""Cross-modulated diffusion transformer (Lin et al. 2025, Evo-1, section III): blocks with cross-attention only.

The integration module puts the robot's state, as one token, behind what the backbone made of images and words; every
block attends to these same tokens. Steps don't see each other in the blocks: the head joins all of them and says the
whole chunk's velocity at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_policy.core.blocks.action_expert import moment
from vla_policy.core.blocks.attention import Attention, learned, mlp
from vla_policy.core.systems.sizes import Sizes


@dataclass(frozen=True, slots=True)
class CrossModulatedConfig:
    """A preset's `expert` section.

    Attributes:
        width, layers, heads: Of the blocks; 896, 8 and 8 in the published weights.
        hidden: Width of their MLPs.
        joined: Width of what the head makes of all steps; below T*D numbers it can't tell all noise apart.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    joined: int


class Integrated(NamedTuple):
    """What the blocks attend to, computed once per observation.

    Attributes:
        keys_values: (2,B,H,N+1,E) per block.
        valid: bool (B,1,1,N+1).
    """

    keys_values: tuple[Tensor, ...]
    valid: Tensor

    def repeated(self, times: int) -> Integrated:
        """Of a batch that is repeated as a whole so many times."""
        if times == 1:
            return self
        keys_values = tuple(part.repeat(1, times, 1, 1, 1) for part in self.keys_values)
        return Integrated(keys_values, self.valid.repeat(times, 1, 1, 1))


class CrossBlock(nn.Module):
    """Cross-attention, and an MLP that is told the flow time."""

    def __init__(self, config: CrossModulatedConfig) -> None:
        super().__init__()
        width = config.width
        self.norm_cross, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = Attention(width, config.heads)
        self.mlp = mlp(width, config.hidden, width)

    def forward(self, x: Tensor, when: Tensor, keys_values: Tensor, valid: Tensor) -> Tensor:
        """Steps (B,T,C) with embedded times (B,T,C) to the same."""
        x = x + self.attend(self.norm_cross(x), keys_values, valid)
        out: Tensor = x + self.mlp(self.norm_mlp(x) + when)
        return out


class CrossModulated(nn.Module):
    """Velocity field of a chunk.

    Args:
        config: Sizes.
        sizes: Of chunk and state.
        context: Width of the backbone's states.
    """

    def __init__(self, config: CrossModulatedConfig, sizes: Sizes, context: int) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.state = mlp(sizes.state, width, context)
        self.context = nn.Linear(context, width)
        self.action = nn.Linear(sizes.action_width, width)
        self.step = learned(1, sizes.horizon, width)
        self.mix = nn.Linear(width, width)
        self.mix_out = nn.Linear(width, width)
        self.blocks = nn.ModuleList(CrossBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.join = nn.Linear(sizes.horizon * width, config.joined)
        self.velocity_out = mlp(config.joined, config.hidden, sizes.horizon * sizes.action_width)

    def integrate(self, hidden: Tensor, valid: Tensor, state: Tensor) -> Integrated:
        """The backbone's states (B,N,context), which of them are valid, bool (B,N), and state features (B,S)."""
        tokens = self.context(torch.cat([hidden, self.state(state)[:, None]], 1))
        keys_values = tuple(block.attend.keys_values(tokens) for block in self.blocks)  # type: ignore[union-attr, operator]
        return Integrated(keys_values, torch.cat([valid, valid.new_ones(len(valid), 1)], 1)[:, None, None])

    def forward(self, actions: Tensor, time: Tensor, known: Integrated) -> Tensor:
        """Velocity (B,T,D) of noisy actions (B,T,D) at flow times (B,T)."""
        x = F.relu(self.action(actions)) + self.step
        x, when = self.mix_out(F.relu(self.mix(x))), moment(time, self.config.width)
        for block, keys_values in zip(self.blocks, known.keys_values, strict=True):
            x = block(x, when, keys_values, known.valid)
        out: Tensor = self.velocity_out(self.join(self.norm(x).flatten(1)))
        return out.view_as(actions)
