"""What the robot tries when it gets no further: each recovery is a short motion that ends by itself.

As in Nav2's default behaviour tree they take turns: forget what the lidar saw (done by the navigator before each of
them), wait for people to pass, back up, turn to look around. All run behind the safety layer.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from vla_core import se2
from vla_core.types import Float64

_STUCK_S = 3.0  # beyond the time that it would take, a motion that the safety layer doesn't let through is given up
_SPEED_SHARE, _TURN_SHARE = 0.3, 0.5
_TURN_RAD = math.pi / 2


class Recovery(Protocol):
    """One motion."""

    name: str

    def twist(self, pose: Float64, now_s: float) -> Float64 | None:
        """The twist (3,) wanted at a pose (3,); None when it is over."""


class Wait:
    """Stand still."""

    name = "wait"

    def __init__(self, seconds: float, now_s: float) -> None:
        self._until_s = now_s + seconds

    def twist(self, pose: Float64, now_s: float) -> Float64 | None:
        """Rest, for the time given."""
        return np.zeros(3) if now_s < self._until_s else None


class BackUp:
    """Drive straight back.

    Args:
        way_m: How far. velocity: (3,) limits of the base.
        pose, now_s: Where and when it begins.
    """

    name = "back_up"

    def __init__(self, way_m: float, velocity: Float64, pose: Float64, now_s: float) -> None:
        self._from, self._way_m = pose[:2].copy(), way_m
        self._speed = _SPEED_SHARE * float(velocity[0])
        self._until_s = now_s + way_m / self._speed + _STUCK_S

    def twist(self, pose: Float64, now_s: float) -> Float64 | None:
        """Backwards, until it is far enough or takes too long."""
        if now_s >= self._until_s or np.hypot(*(pose[:2] - self._from)) >= self._way_m:
            return None
        return np.array([-self._speed, 0.0, 0.0])


class Turn:
    """Turn on the spot by 90 degrees, to the left.

    Args:
        velocity: (3,) limits of the base. pose, now_s: Where and when it begins.
    """

    name = "turn"

    def __init__(self, velocity: Float64, pose: Float64, now_s: float) -> None:
        self._rate, self._from = _TURN_SHARE * float(velocity[2]), float(pose[2])
        self._until_s = now_s + _TURN_RAD / self._rate + _STUCK_S

    def twist(self, pose: Float64, now_s: float) -> Float64 | None:
        """Turning, until it is far enough or takes too long."""
        if now_s >= self._until_s or abs(se2.wrap(pose[2] - self._from)) >= _TURN_RAD:
            return None
        return np.array([0.0, 0.0, self._rate])
