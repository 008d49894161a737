"""Pre-norm transformer blocks whose cross-attention keys and values can be computed once and reused."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with separate access to keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def keys_values(self, context: Tensor) -> Tensor:
        """Context (B,N,C) to keys and values (2,B,H,N,C/H)."""
        batch, count, width = context.shape
        split = self.key_value(context).view(batch, count, 2, self.heads, width // self.heads)
        out: Tensor = split.permute(2, 0, 3, 1, 4)
        return out

    def forward(self, x: Tensor, keys_values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend from x (B,M,C); `mask` bool, True where attending is allowed, broadcast to (B,H,M,N)."""
        batch, count, width = x.shape
        query = self.query(x).view(batch, count, self.heads, width // self.heads).transpose(1, 2)
        # Written out: on a CPU the backward pass of the fused kernel is 8 times slower for sequences this short.
        scores = query * (width // self.heads) ** -0.5 @ keys_values[0].transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        y = torch.softmax(scores, -1).to(query.dtype) @ keys_values[1]
        out: Tensor = self.out(y.transpose(1, 2).reshape(batch, count, width))
        return out


def mlp(inputs: int, hidden: int, outputs: int, layers: int = 1) -> nn.Sequential:
    """Linear layers with GELU between them: `layers` hidden ones."""
    steps: list[nn.Module] = [nn.Linear(inputs, hidden), nn.GELU()]
    for _ in range(layers - 1):
        steps += [nn.Linear(hidden, hidden), nn.GELU()]
    return nn.Sequential(*steps, nn.Linear(hidden, outputs))


class EncoderBlock(nn.Module):
    """Self-attention and MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width)
        self.attend_self = Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = mlp(width, 4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B,N,C) to (B,N,C); mask as in Attention."""
        y = self.norm_self(x)
        x = x + self.attend_self(y, self.attend_self.keys_values(y), mask)
        out: Tensor = x + self.mlp(self.norm_mlp(x))
        return out


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention to given keys and values, MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width)
        self.attend_self = Attention(width, heads)
        self.norm_cross = nn.LayerNorm(width)
        self.attend_cross = Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = mlp(width, 4 * width, width)

    def forward(self, x: Tensor, keys_values: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B,M,C), keys_values (2,B,H,N,C/H) of the context, mask over the context."""
        y = self.norm_self(x)
        x = x + self.attend_self(y, self.attend_self.keys_values(y))
        x = x + self.attend_cross(self.norm_cross(x), keys_values, mask)
        out: Tensor = x + self.mlp(self.norm_mlp(x))
        return out


def learned(*shape: int) -> nn.Parameter:
    """Learned embedding, normal with standard deviation 0.1."""
    return nn.Parameter(torch.randn(*shape) * 0.1)
