"""A backbone's decoder and an action expert as fewer, larger operations, with the same result (Ma et al. 2025, "Running
VLAs at Real-time Speed", simplifying the graph).

 - The scale of a norm belongs to the matrix behind it: W (s * x) = (W diag(s)) x.
 - Queries, keys and values are one product, and so are both halves of a gated MLP.
 - Of the prefix only keys and values are read, so its last layer ends with them.
 - Two linear maps of the noisy actions with nothing between them are one; what the flow time adds to it is a bias that
   doesn't depend on the observation: one row per Euler step, made once.
 - The state sees no action, so its keys and values are those of every step, and stand behind the prefix.
 - The length of an Euler step is in the last matrix.

All shapes are static: nothing depends on the values that come in.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_policy.core.blocks.action_expert import ActionExpert, moment
from vla_policy.core.blocks.decoder import ACTIVATIONS, Cache, Decoder, DecoderLayer, RmsNorm

Angles = tuple[Tensor, Tensor]


def angles(positions: int, head_width: int, base: float, device: torch.device) -> Angles:
    """Cosines and sines (positions, head_width/2) of rotary positions, see `decoder.rotate`."""
    half = head_width // 2
    frequency = base ** (-torch.arange(half, device=device, dtype=torch.float32) / half)
    angle = torch.arange(positions, device=device, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def _rotated(x: Tensor, by: Angles) -> Tensor:
    """x (B,H,N,E) by angles (N,E/2)."""
    first, second = x.float().chunk(2, -1)
    cos, sin = by
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x.dtype)


def _normalised(x: Tensor, eps: float) -> Tensor:
    y = x.float()
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def _folded(norm: RmsNorm, *matrices: Tensor) -> Tensor:
    """Matrices behind a norm, one upon the other, with its scale."""
    stacked = torch.cat([matrix.float() for matrix in matrices])
    return (stacked * norm.weight.float()).to(matrices[0].dtype)


class FoldedLayer(nn.Module):
    """See the module."""

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor

    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__()
        self.config, self.eps = layer.config, layer.norm_attention.eps
        query, key, value = layer.query.weight, layer.key.weight, layer.value.weight
        self.register_buffer("qkv", _folded(layer.norm_attention, query, key, value))
        self.register_buffer("out", layer.out.weight.detach().clone())
        self.register_buffer("gate_up", _folded(layer.norm_mlp, layer.gate.weight, layer.up.weight))
        self.register_buffer("down", layer.down.weight.detach().clone())

    def keys_values(self, x: Tensor, by: Angles) -> tuple[Tensor, Tensor]:
        """Of x (B,M,C), without queries."""
        config = self.config
        product = F.linear(_normalised(x, self.eps), self.qkv[config.heads * config.head_width :])
        key, value = self._heads(product).chunk(2, 1)
        return _rotated(key, by), value

    def forward(
        self, x: Tensor, by: Angles, mask: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As DecoderLayer; `mask` bool (B,1,1,P+M): whom all of x see."""
        config = self.config
        heads = self._heads(F.linear(_normalised(x, self.eps), self.qkv))
        query, (key, value) = heads[:, : config.heads], heads[:, config.heads :].chunk(2, 1)
        query, key = _rotated(query, by), _rotated(key, by)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        # Heads that share keys and values stand one after the other as rows of one head.
        batch, count, _ = x.shape
        rows = query.reshape(batch, config.kv_heads, -1, config.head_width)
        seen = F.scaled_dot_product_attention(rows, key, value, mask)
        seen = seen.reshape(batch, config.heads, count, -1).transpose(1, 2).flatten(2)
        x = x + F.linear(seen, self.out)
        gate, up = F.linear(_normalised(x, self.eps), self.gate_up).chunk(2, -1)
        activated: Tensor = ACTIVATIONS[config.activation](gate)
        return x + F.linear(activated * up, self.down), (key, value)

    def _heads(self, product: Tensor) -> Tensor:
        batch, count, _ = product.shape
        return product.reshape(batch, count, -1, self.config.head_width).transpose(1, 2)


class FoldedDecoder(nn.Module):
    """A decoder's layers; the final norm's scale belongs to what comes behind."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.eps = decoder.norm.eps
        self.layers = nn.ModuleList(FoldedLayer(cast(DecoderLayer, layer)) for layer in decoder.layers)

    def keys_values(self, x: Tensor, by: Angles, mask: Tensor, past: Cache | None = None) -> Cache:
        """What later tokens need of x (B,M,C), behind what they need of `past`."""
        cache: Cache = []
        for i, layer in enumerate(self.layers):
            before = None if past is None else past[i]
            if i + 1 < len(self.layers):
                x, kept = layer(x, by, mask, before)
            else:
                key, value = cast(FoldedLayer, layer).keys_values(x, by)
                kept = (
                    (key, value)
                    if before is None
                    else (torch.cat([before[0], key], 2), torch.cat([before[1], value], 2))
                )
            cache.append(kept)
        return cache

    def forward(self, x: Tensor, by: Angles, mask: Tensor, past: Cache) -> Tensor:
        """States (B,M,C), normalised without a scale."""
        for layer, before in zip(self.layers, past, strict=True):
            x, _ = layer(x, by, mask, before)
        return _normalised(x, self.eps)


class FoldedExpert(nn.Module):
    """Whole chunks from an embedded prefix.

    Args:
        backbone: Reads the prefix.
        expert: Draws.
        steps: Euler steps.
        prefix: Most tokens of the prefix N, its padding among them.
    """

    cos: Tensor
    sin: Tensor
    action: Tensor
    moments: Tensor
    step: Tensor
    step_bias: Tensor

    @torch.no_grad()
    def __init__(self, backbone: Decoder, expert: ActionExpert, steps: int, prefix: int) -> None:
        super().__init__()
        config, device = backbone.config, expert.mix.weight.device
        self.prefix, self.horizon = prefix, expert.horizon
        self.backbone, self.decoder = FoldedDecoder(backbone), FoldedDecoder(expert.decoder)
        cos, sin = angles(prefix + 1 + expert.horizon, config.head_width, config.rope_base, device)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        kept = expert.mix.weight.dtype
        of_action, of_time = expert.mix.weight.float().chunk(2, 1)
        times = moment(torch.arange(steps, device=device) / steps, expert.width)
        bias = expert.mix.bias.float() + of_action @ expert.action.bias.float() + times @ of_time.T
        self.register_buffer("action", (of_action @ expert.action.weight.float()).to(kept))
        self.register_buffer("moments", bias.to(kept))
        self.register_buffer("step", _folded(expert.decoder.norm, expert.velocity_out.weight.detach() / steps))
        self.register_buffer("step_bias", expert.velocity_out.bias.detach() / steps)
        self.state, self.mix_out = expert.state, expert.mix_out

    def forward(self, tokens: Tensor, valid: Tensor, state: Tensor, first: Tensor, noise: Tensor) -> Tensor:
        """The chunk (B,T,D).

        Args:
            tokens: (B,N,C) embedded prefix, padding at its end.
            valid: bool (B,N).
            state: (B,S) state features.
            first: int64 (1,) place of the state in the sequence, <= N: the prefix without padding.
            noise: (B,T,D).
        """
        mask, one = valid[:, None, None], torch.ones_like(valid[:, :1])[:, None, None]
        cache = self.backbone.keys_values(tokens, self._angles(0, tokens.shape[1]), mask)
        places = first + torch.arange(1 + self.horizon, device=noise.device)
        by = self.cos[places], self.sin[places]
        mask = torch.cat([mask, one], 3)
        cache = self.decoder.keys_values(self.state(state)[:, None], (by[0][:1], by[1][:1]), mask, cache)
        mask, by = torch.cat([mask, one.expand(-1, -1, -1, self.horizon)], 3), (by[0][1:], by[1][1:])
        x = noise
        for moment_bias in self.moments.unbind():
            noisy = self.mix_out(F.silu(F.linear(x, self.action, moment_bias)))
            x = x + F.linear(self.decoder(noisy, by, mask, cache), self.step, self.step_bias)
        return x

    def _angles(self, begin: int, end: int) -> Angles:
        return self.cos[begin:end], self.sin[begin:end]
