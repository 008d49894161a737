"""SmolVLA's action expert (Shukor et al. 2025, section 3.2): layers that read a backbone in turn in two ways.

A self-attention layer puts the actions behind the backbone's keys and values of the same layer and lets each see what
was before it. A cross-attention layer sees the backbone only: its own projections turn the backbone's keys and values
of that layer, rotated as they are, into what its queries attend to; queries count their positions from 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.decoder import ACTIVATIONS, Cache, DecoderConfig, DecoderLayer, RmsNorm, attend, rotate


class CrossLayer(DecoderLayer):
    """Attention to another decoder's keys and values of width `kv_width`, and gated MLP."""

    def __init__(self, config: DecoderConfig, kv_width: int) -> None:
        super().__init__(config)
        keys = config.kv_heads * config.head_width
        self.key = nn.Linear(kv_width, keys, bias=False)
        self.value = nn.Linear(kv_width, keys, bias=False)

    def read(self, x: Tensor, past: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """x (B,M,C) to the same; keys and values (B,G,N,E) of the backbone, mask broadcast to (B,1,M,N)."""
        config = self.config
        query = self.query(self.norm_attention(x)).unflatten(-1, (-1, config.head_width)).transpose(1, 2)
        positions = torch.arange(x.shape[1], device=x.device)[None]
        key, value = (
            part(whole.transpose(1, 2).flatten(2)).unflatten(-1, (-1, config.head_width)).transpose(1, 2)
            for part, whole in ((self.key, past[0]), (self.value, past[1]))
        )
        y = attend(rotate(query, positions, config.rope_base), key, value, mask)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        y = self.norm_mlp(x)
        out: Tensor = x + self.down(ACTIVATIONS[config.activation](self.gate(y)) * self.up(y))
        return out


class InterleavedExpert(nn.Module):
    """Layers beside those of a backbone.

    Args:
        config: Of the expert; heads and head width are the backbone's.
        backbone: Of the backbone, `layers` a multiple of the expert's: the expert reads every so many of them.
        self_every: Every so many of the backbone's layers the expert attends to itself too; 0: never.
    """

    def __init__(self, config: DecoderConfig, backbone: DecoderConfig, self_every: int) -> None:
        super().__init__()
        self.stride = backbone.layers // config.layers
        places = [i * self.stride for i in range(config.layers)]
        kv_width = backbone.kv_heads * backbone.head_width
        self.layers = nn.ModuleList(
            DecoderLayer(config) if self_every > 0 and place % self_every == 0 else CrossLayer(config, kv_width)
            for place in places
        )
        self.norm = RmsNorm(config.width, config.eps)

    def forward(self, x: Tensor, past: Cache, valid: Tensor) -> Tensor:
        """Actions (B,M,C) behind a prefix whose tokens are `valid`, bool (B,N), to states (B,M,C)."""
        batch, count = x.shape[:2]
        prefix = valid[:, None].expand(-1, count, -1)
        causal = torch.ones(batch, count, count, dtype=torch.bool, device=x.device).tril()
        both = torch.cat([prefix, causal], 2)[:, None]
        positions = valid.sum(1, keepdim=True) + torch.arange(count, device=x.device)
        for i, layer in enumerate(self.layers):
            kept = past[i * self.stride]
            if isinstance(layer, CrossLayer):
                x = layer.read(x, kept, prefix[:, None])
            else:
                x, _ = layer(x, positions, both, kept)
        out: Tensor = self.norm(x)
        return out
