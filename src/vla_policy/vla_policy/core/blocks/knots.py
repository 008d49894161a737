"""A chunk by a few of its steps, for systems of the literature that predict one action at a time.

RT-1, RT-2, OpenVLA and HybridVLA answer every image with one action. At the rate at which chunks take over here, that
action is the chunk's step at which the next answer is expected: one knot. More knots make a polygon.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vla_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Knots:
    """Which steps of a chunk are kept.

    Attributes:
        steps: Rising, 0..horizon-1.
        horizon: T of a chunk.

    Raises:
        ConfigError: no steps, or steps that don't rise or lie outside of a chunk.
    """

    steps: tuple[int, ...]
    horizon: int

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((-1, *self.steps), (*self.steps, self.horizon), strict=True))
        if not self.steps or not rising:
            raise ConfigError(f"knots {self.steps}", f"rising steps among 0..{self.horizon - 1}", "mend the preset")

    def encode(self, chunk: Tensor) -> Tensor:
        """Chunk (B,T,D), or labels of its steps (B,T), to what stands at the knots (B,K,D) or (B,K)."""
        return chunk[:, list(self.steps)]

    def decode(self, values: Tensor) -> Tensor:
        """Values (B,K,D) to a chunk (B,T,D), both in physical units.

        Straight from the present pose, which is no motion at step -1, from knot to knot, and held after the last one.
        The last column, the gripper, has the value of the next knot, and of the last one behind it.
        """
        at = torch.tensor([-1, *self.steps], dtype=values.dtype, device=values.device)
        path = torch.cat([torch.zeros_like(values[:, :1]), values], 1)
        step = torch.arange(self.horizon, dtype=values.dtype, device=values.device).clamp(max=self.steps[-1])
        after = torch.searchsorted(at, step)
        share = ((step - at[after - 1]) / (at[after] - at[after - 1]))[:, None]
        chunk = path[:, after - 1] * (1 - share) + path[:, after] * share
        return torch.cat([chunk[..., :-1], path[:, after, -1:]], -1)
