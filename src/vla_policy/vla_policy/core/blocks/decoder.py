"""Gemma and Llama style transformer: RMS norm, rotary positions, grouped queries, gated MLP, reusable keys and values.

One block for every language-model backbone and action expert, from 1 to 7,000 million parameters. What an earlier part
of a sequence left behind is a `Cache`; a decoder continues its own cache, and an action expert reads another decoder's
(Black et al. 2024, pi0: section III, "action expert").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import ConfigError

#: Keys and values (B,G,N,E) of every layer; G key-value heads of width E.
Cache = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Sizes of a Decoder.

    Attributes:
        width, layers: Of the residual stream.
        heads, kv_heads, head_width: Queries share keys and values in groups of heads / kv_heads.
        hidden: Width of the gated MLP.
        activation: 'gelu' (Gemma) or 'silu' (Llama, Qwen).
        rope_base: Of the rotary positions.
        eps: Of the norms.
    """

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    activation: str = "gelu"
    rope_base: float = 10_000.0
    eps: float = 1e-6

    def check(self) -> DecoderConfig:
        """Return self.

        Raises:
            ConfigError: heads don't divide into groups, an odd head width, or an unknown activation.
        """
        if self.heads % self.kv_heads or self.head_width % 2 or self.activation not in ACTIVATIONS:
            got = f"{self.heads} heads, {self.kv_heads} kv_heads, head_width {self.head_width}, '{self.activation}'"
            expected = f"kv_heads that divide heads, an even head_width, an activation of {', '.join(ACTIVATIONS)}"
            raise ConfigError(got, expected, "mend the preset")
        return self


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": _gelu, "silu": F.silu}


class RmsNorm(nn.Module):
    """Root mean square norm with a scale (Zhang & Sennrich 2019), in float32."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        """(...,C) to (...,C)."""
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * self.weight.float()).to(x.dtype)


def rotate(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of x (B,H,N,E) at positions (B,N) or (1,N), in half-split layout."""
    half = x.shape[-1] // 2
    frequency = base ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = positions[:, None, :, None].float() * frequency
    cos, sin = angle.cos(), angle.sin()
    first, second = torch.split(x.float(), half, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).to(x.dtype)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Grouped-query attention of (B,H,M,E) over (B,G,N,E); mask bool, True where allowed, broadcast to (B,1,M,N)."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if query.is_cuda:
        fused: Tensor = F.scaled_dot_product_attention(query, key, value, mask)
        return fused
    # Written out: on a CPU the backward pass of the fused kernel is 8 times slower for sequences this short.
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores.float(), -1).to(query.dtype) @ value


class DecoderLayer(nn.Module):
    """Attention and gated MLP, each behind a norm."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
        self.norm_attention = RmsNorm(config.width, config.eps)
        self.query = nn.Linear(config.width, queries, bias=False)
        self.key = nn.Linear(config.width, keys, bias=False)
        self.value = nn.Linear(config.width, keys, bias=False)
        self.out = nn.Linear(queries, config.width, bias=False)
        self.norm_mlp = RmsNorm(config.width, config.eps)
        self.gate = nn.Linear(config.width, config.hidden, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x (B,M,C) to the same, and keys and values of past and x."""
        config = self.config
        y = self.norm_attention(x)
        query, key, value = (
            part(y).unflatten(-1, (-1, config.head_width)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        query, key = rotate(query, positions, config.rope_base), rotate(key, positions, config.rope_base)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        x = x + self.out(attend(query, key, value, mask).transpose(1, 2).flatten(2))
        y = self.norm_mlp(x)
        return x + self.down(ACTIVATIONS[config.activation](self.gate(y)) * self.up(y)), (key, value)


class Decoder(nn.Module):
    """Layers and a final norm; who may attend to whom is the caller's mask."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config.check()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = RmsNorm(config.width, config.eps)

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor | None = None, past: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """Run a part of a sequence.

        Args:
            x: (B,M,C) embedded tokens.
            positions: (B,M) or (1,M) places in the whole sequence.
            mask: bool, True where attending is allowed, broadcast to (B,1,M,P+M); None: everywhere.
            past: Keys and values of the P tokens before, of this decoder or of one with the same layers and heads.

        Returns:
            Normalised states (B,M,C), and the cache of all P+M tokens.
        """
        cache: Cache = []
        for i, layer in enumerate(self.layers):
            x, kept = layer(x, positions, mask, None if past is None else past[i])
            cache.append(kept)
        return self.norm(x), cache


def block_mask(blocks: Tensor, valid: Tensor, queries: int | None = None) -> Tensor:
    """Who sees whom in a sequence of blocks: a token sees all valid tokens of its own and of earlier blocks.

    Blocks of one token each make it causal; one block makes it bidirectional; pi0's sequence is three blocks.

    Args:
        blocks: (N,) or (B,N) number of every token's block, not falling.
        valid: (B,N) bool, False for padding.
        queries: Only the rows of the last so many tokens; None: all.

    Returns:
        bool (B,1,M,N).
    """
    blocks = blocks.expand(valid.shape) if blocks.dim() == 1 else blocks
    rows = blocks if queries is None else blocks[:, blocks.shape[1] - queries :]
    return ((rows[:, :, None] >= blocks[:, None]) & valid[:, None])[:, None]


def mean_of(hidden: Tensor, valid: Tensor) -> Tensor:
    """Mean (B,C) of the states (B,N,C) that are valid, bool (B,N)."""
    weight = valid[..., None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1.0)


def detached(cache: Cache) -> Cache:
    """The same keys and values without a way back for gradients (Driess et al. 2025, knowledge insulation)."""
    return [(key.detach(), value.detach()) for key, value in cache]


def repeated(cache: Cache, times: int) -> Cache:
    """The cache of a batch that is repeated as a whole so many times."""
    return [(key.repeat(times, 1, 1, 1), value.repeat(times, 1, 1, 1)) for key, value in cache]
