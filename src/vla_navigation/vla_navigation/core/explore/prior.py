"""Where it pays to look first: weights over the map from what language and semantics know (cups are on tables)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vla_core.types import Float32
from vla_navigation.core.nav.grid_frame import GridFrame


class Prior(Protocol):
    """Worth of seeing a cell, against 1 for a cell of which nothing is known."""

    def weights(self, frame: GridFrame) -> Float32:
        """float32 (H,W), >= 0, for the cells of a frame."""


class NoPrior:
    """Every cell is worth the same."""

    def weights(self, frame: GridFrame) -> Float32:
        """Ones (H,W)."""
        return np.ones(frame.shape, np.float32)


@dataclass(frozen=True, slots=True)
class Hint:
    """A place near which the thing that is looked for is likelier.

    Attributes:
        x, y: Map frame [m].
        radius_m: Standard deviation of the place.
        weight: How much more a cell there is worth, > -1; negative: it is unlikely there.
    """

    x: float
    y: float
    radius_m: float
    weight: float


class HintPrior:
    """Bumps around hints: 1 + sum of weight * exp(-d^2 / 2 radius^2), at least 0.05, so that no place is left out."""

    def __init__(self, hints: Sequence[Hint]) -> None:
        self._hints = tuple(hints)

    def weights(self, frame: GridFrame) -> Float32:
        """float32 (H,W)."""
        y, x = np.mgrid[: frame.rows, : frame.columns]
        x, y = frame.x_m + frame.resolution_m * (x + 0.5), frame.y_m + frame.resolution_m * (y + 0.5)
        total = np.ones(frame.shape)
        for hint in self._hints:
            square = (x - hint.x) ** 2 + (y - hint.y) ** 2
            total += hint.weight * np.exp(-square / (2.0 * hint.radius_m**2))
        return np.maximum(total, 0.05).astype(np.float32)
