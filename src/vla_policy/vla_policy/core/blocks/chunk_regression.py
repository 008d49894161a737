"""The MLP behind parallel decoding: a step's states to its action (Kim et al. 2025, OpenVLA-OFT, section IV)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ChunkRegressionConfig:
    """A preset's `head` section: width of the MLP, and its residual layers."""

    hidden: int
    layers: int


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.step = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.step(x)
        return out


class ChunkRegression(nn.Module):
    """The same residual MLP for every step."""

    def __init__(self, config: ChunkRegressionConfig, dimensions: int, width: int) -> None:
        super().__init__()
        hidden, self.dimensions = config.hidden, dimensions
        self.mlp = nn.Sequential(
            nn.LayerNorm(dimensions * width), nn.Linear(dimensions * width, hidden), nn.ReLU(),
            *(_Residual(hidden) for _ in range(config.layers)),
            nn.LayerNorm(hidden), nn.Linear(hidden, dimensions),
        )  # fmt: skip

    def forward(self, states: Tensor) -> Tensor:
        """States (B,T*D,width), step after step, to a chunk (B,T,D)."""
        batch, tokens, width = states.shape
        out: Tensor = self.mlp(states.reshape(batch, tokens // self.dimensions, self.dimensions * width))
        return out
