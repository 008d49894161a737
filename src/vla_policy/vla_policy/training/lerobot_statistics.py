"""Statistics of a feature, episode by episode, as `meta/stats.json` holds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float64, UInt8

_LEVELS = 256
_PICTURES_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one feature over `count` frames, element by element; NaN where an element ever was NaN.

    Attributes:
        minimum, maximum, mean, std: float64, of the feature's shape; (3,1,1) and in 0..1 for pictures.
        count: Frames.
    """

    minimum: Float64
    maximum: Float64
    mean: Float64
    std: Float64
    count: int

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.std).all())

    def content(self) -> dict[str, Any]:
        """As it stands on disk."""
        parts = {"min": self.minimum, "max": self.maximum, "mean": self.mean, "std": self.std}
        return {name: value.tolist() for name, value in parts.items()} | {"count": [self.count]}


def of_numbers(values: NDArray[Any]) -> Statistics:
    """Over frames (N, …) of numbers or booleans."""
    exact = values.astype(np.float64)
    return Statistics(exact.min(0), exact.max(0), exact.mean(0), exact.std(0), len(exact))


def of_pictures(rgb: UInt8) -> Statistics:
    """Per channel over all pixels of pictures (N,H,W,3), from the exact histogram of their levels."""
    counts = np.zeros((3, _LEVELS), np.int64)
    for first in range(0, len(rgb), _PICTURES_AT_ONCE):
        piece = rgb[first : first + _PICTURES_AT_ONCE]
        for channel in range(3):
            counts[channel] += np.bincount(piece[..., channel].ravel(), minlength=_LEVELS)
    level = np.arange(_LEVELS) / (_LEVELS - 1)
    total = counts.sum(1)
    mean = counts @ level / total
    std = np.sqrt((counts * (level - mean[:, None]) ** 2).sum(1) / total)
    used = [level[count > 0] for count in counts]
    low, high = np.array([u[0] for u in used]), np.array([u[-1] for u in used])
    low, high, mean, std = (part.reshape(3, 1, 1) for part in (low, high, mean, std))
    return Statistics(low, high, mean, std, len(rgb))


def merge(parts: Iterable[Statistics]) -> Statistics:
    """Of all frames together (Chan, Golub, LeVeque 1983, equations 1.5).

    Raises:
        ValueError: there is no part.
    """
    total: Statistics | None = None
    for part in parts:
        total = part if total is None else _merge_two(total, part)
    if total is None:
        raise ValueError("statistics of nothing")
    return total


def _merge_two(a: Statistics, b: Statistics) -> Statistics:
    count = a.count + b.count
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.count / count)
    squares = a.count * a.std**2 + b.count * b.std**2 + delta**2 * (a.count * b.count / count)
    low, high = np.minimum(a.minimum, b.minimum), np.maximum(a.maximum, b.maximum)
    return Statistics(low, high, mean, np.sqrt(squares / count), count)
