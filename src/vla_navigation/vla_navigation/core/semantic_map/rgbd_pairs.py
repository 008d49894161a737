"""Colour and depth images of one camera, matched by capture stamps; the newest pair that wasn't used yet counts."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")
_KEPT = 4


class RgbdPairs(Generic[T]):
    """One camera.

    Args:
        skew_s: Stamps further apart don't belong together [s].
    """

    def __init__(self, skew_s: float) -> None:
        self._skew_ns = round(skew_s * 1e9)
        self._colour: deque[tuple[int, T]] = deque(maxlen=_KEPT)
        self._depth: deque[tuple[int, T]] = deque(maxlen=_KEPT)
        self._used_ns = -1

    def add_colour(self, stamp_ns: int, image: T) -> None:
        """Take a colour image."""
        self._colour.append((stamp_ns, image))

    def add_depth(self, stamp_ns: int, image: T) -> None:
        """Take a depth image."""
        self._depth.append((stamp_ns, image))

    def clear(self) -> None:
        """Forget everything, for a clock that was set back."""
        self._colour.clear()
        self._depth.clear()
        self._used_ns = -1

    def newest(self) -> tuple[int, T, T] | None:
        """Stamp [ns] of the depth, colour and depth of the newest pair; None: nothing new fits."""
        for depth_ns, depth in sorted(self._depth, key=lambda entry: -entry[0]):
            if depth_ns <= self._used_ns:
                return None
            near = min(self._colour, key=lambda entry: abs(entry[0] - depth_ns), default=None)
            if near is not None and abs(near[0] - depth_ns) <= self._skew_ns:
                return depth_ns, near[1], depth
        return None

    def use(self, stamp_ns: int) -> None:
        """The pair with this stamp, and all before it, are done with."""
        self._used_ns = stamp_ns
