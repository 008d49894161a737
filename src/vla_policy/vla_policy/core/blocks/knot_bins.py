"""Knots of a chunk as tokens: one bin number per knot and dimension, with bounds of its own for each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vla_core.errors import PolicyError
from vla_policy.core.blocks.knots import Knots
from vla_policy.core.systems.sizes import Fitting
from vla_policy.core.tokenizers.bins import Bins


class KnotBins(nn.Module):
    """Chunks in physical units to bins and back; fitted to training data, kept in the weight file's notes.

    Args:
        knots: Which steps. width: D.
        kind: Of the bounds, see `fit_bounds`. count: Bins per dimension.
    """

    def __init__(self, knots: Knots, width: int, kind: str, count: int) -> None:
        super().__init__()
        self.knots, self.width, self.kind, self.count = knots, width, kind, count
        self._bins: Bins | None = None

    @property
    def tokens(self) -> int:
        """K D, how many bins stand for a chunk."""
        return len(self.knots.steps) * self.width

    @property
    def bins(self) -> Bins:
        """Of the K D values, knot after knot.

        Raises:
            PolicyError: neither fitted nor restored.
        """
        if self._bins is None:
            raise PolicyError("bins without bounds", "bins that were fitted", "train, or load weights")
        return self._bins

    def fit(self, data: Fitting) -> None:
        """Take the bounds of training data."""
        self._bins = Bins.fit(self.knots.encode(data.chunk).flatten(1).cpu().numpy(), self.kind, self.count)

    def notes(self) -> dict[str, Any]:
        """The bounds."""
        return self.bins.metadata()

    def restore(self, notes: dict[str, Any]) -> None:
        """Inverse of `notes`."""
        self._bins = Bins.from_metadata(notes)

    def encode(self, chunk: Tensor) -> Tensor:
        """Chunk (B,T,D) in physical units to bins int64 (B,K*D)."""
        return self.bins.encode(self.knots.encode(chunk).flatten(1))

    def decode(self, bins: Tensor) -> Tensor:
        """Bins int64 (B,K*D) to a chunk (B,T,D) in physical units."""
        values = self.bins.decode(bins).view(len(bins), -1, self.width)
        return self.knots.decode(values)

    def known(self, known: Tensor) -> Tensor:
        """Which bins have a label, bool (B,K*D), of steps (B,T)."""
        return self.knots.encode(known).repeat_interleave(self.width, 1)

    def whole(self, columns: tuple[int, ...]) -> Tensor:
        """Which bins (K*D,count) hold a whole number; in columns (of 0..D-1) other than these: all."""
        allowed = torch.ones(self.tokens, self.count, dtype=torch.bool)
        for knot in range(len(self.knots.steps)):
            for column in columns:
                place = knot * self.width + column
                low, high = self.bins.low[place], self.bins.high[place]
                numbers = torch.arange(round(low), round(high) + 1, dtype=torch.float32)
                values = torch.zeros(len(numbers), self.tokens)
                values[:, place] = numbers
                allowed[place] = False
                allowed[place, self.bins.encode(values)[:, place]] = True
        return allowed
