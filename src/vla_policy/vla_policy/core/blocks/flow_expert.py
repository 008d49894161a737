"""Action expert: a transformer over the chunk's steps that cross-attends to cached conditioning tokens (as in pi0)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.attention import DecoderBlock, learned


@dataclass(frozen=True, slots=True)
class FlowExpertConfig:
    """Sizes of FlowExpert."""

    block: str
    width: int
    layers: int
    heads: int


class FlowExpert(nn.Module):
    """Velocity field of a chunk (B,T,D), and a direct regression of the chunk by the same trunk."""

    frequencies: Tensor

    def __init__(self, config: FlowExpertConfig, horizon: int, action_width: int) -> None:
        super().__init__()
        width = config.width
        self.horizon, self.action_width = horizon, action_width
        self.action = nn.Linear(action_width, width)
        self.step = learned(1, horizon, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.regress_mode = learned(1, 1, width)
        self.blocks = nn.ModuleList(DecoderBlock(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.velocity_out = nn.Linear(width, action_width)
        self.regress_out = nn.Linear(width, action_width)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 6, 32)), persistent=False)

    def keys_values(self, tokens: Tensor) -> Tensor:
        """Conditioning tokens (B,N,C) to (L,2,B,H,N,C/H): all that denoising needs from the observation."""
        return torch.stack([b.attend_cross.keys_values(tokens) for b in self.blocks])  # type: ignore[union-attr, operator]

    def velocity(self, actions: Tensor, time: Tensor, keys_values: Tensor, mixed: bool = False) -> Tensor:
        """Velocity (B,T,D) at noisy actions (B,T,D) and flow time, 0 noise .. 1 data, one (B,) or one per step (B,T).

        Steps at time 1 are given, not drawn: the others continue them (Black et al., "Training-Time Action Conditioning
        for Efficient Real-Time Chunking", 2025). No parameter depends on how many there are.
        """
        phase = (time[:, None] if time.dim() == 1 else time)[..., None] * self.frequencies
        moment = self.time(torch.cat([phase.sin(), phase.cos()], -1))
        return self._run(self.action(actions) + self.step + moment, keys_values, self.velocity_out, mixed)

    def regress(self, keys_values: Tensor, mixed: bool = False) -> Tensor:
        """The chunk (B,T,D) in one pass (Kim et al. 2025, OpenVLA-OFT: parallel decoding, L1)."""
        start = (self.step + self.regress_mode).expand(keys_values.shape[2], -1, -1)
        return self._run(start, keys_values, self.regress_out, mixed)

    def _run(self, x: Tensor, keys_values: Tensor, out: nn.Linear, mixed: bool) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=mixed):
            for i, block in enumerate(self.blocks):
                x = block(x, keys_values[i])
        result: Tensor = out(self.norm(x.float()))
        return result
