"""See that the thing lies where it was put: the pictures say whether the task is done, not the hand that let go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_core.types import NS, Float64
from vla_navigation.core.fetch.skills import DONE, FAILED, RUNNING, Candidate, Report
from vla_navigation.core.skills.ports import Surroundings, Thing, Wheels, in_base

_LONGEST_S = 10.0
_BACK_M, _BACK_M_S = 0.35, 0.1  # a camera on a mast doesn't see the floor right before the base
_AHEAD_M, _ASIDE_M = 1.0, 0.5  # what the arm puts down lies so near to where the robot stood


class Confirm:
    """Skill `confirm`, whose goal is what was put down: back off a little, until a new picture shows it there.

    Args:
        surroundings: Pose, floor and objects.
        wheels: Who backs off.
        clearance_m: From the base's centre to obstacles, behind it.
        fits: Whether the map has an object for what was asked for, in its colour and where it was to go.
    """

    def __init__(
        self, surroundings: Surroundings, wheels: Wheels, clearance_m: float, fits: Callable[[Thing], bool]
    ) -> None:
        self._surroundings, self._wheels, self._clearance_m, self._fits = surroundings, wheels, clearance_m, fits
        self._goal: Candidate | None = None
        self._begin_ns: int | None = None
        self._stood: Float64 | None = None  # where it was put down from

    def start(self, goal: Candidate) -> None:
        """Look at it."""
        self._goal, self._begin_ns, self._stood = goal, None, None

    def tick(self, now_ns: int) -> Report:
        """FAILED with 'unseen'."""
        assert self._goal is not None
        self._begin_ns = now_ns if self._begin_ns is None else self._begin_ns
        pose = self._surroundings.pose()
        self._stood = pose if self._stood is None else self._stood
        if any(self._shows(thing) for thing in self._surroundings.things()):
            self.cancel()
            return Report(DONE)
        if now_ns - self._begin_ns > _LONGEST_S * NS:
            self.cancel()
            return Report(FAILED, "unseen", f"no {self._goal.name} is seen where it was put down")
        self._wheels.drive(-_BACK_M_S if pose is not None and self._may_back(pose) else 0.0, 0.0)
        return Report(RUNNING, message="looking whether it lies there")

    def cancel(self) -> None:
        """Come to rest."""
        self._wheels.drive(0.0, 0.0)

    def _shows(self, thing: Thing) -> bool:
        """Whether this is it, in a picture that was taken since."""
        assert self._begin_ns is not None
        if self._stood is None or thing.seen_ns <= self._begin_ns or not self._fits(thing):
            return False
        x, y, _ = in_base(thing.position_m, self._stood)
        return bool(0.0 < x < _AHEAD_M and abs(y) < _ASIDE_M)

    def _may_back(self, pose: Float64) -> bool:
        """Whether the floor behind is free, and not far enough yet."""
        ground = self._surroundings.ground()
        if ground is None or self._stood is None or np.hypot(*(pose - self._stood)[:2]) > _BACK_M:
            return False
        behind = pose[:2] - 0.5 * _BACK_M * np.array([np.cos(pose[2]), np.sin(pose[2])])
        cell = ground.frame.cell(float(behind[0]), float(behind[1]))
        inside = bool(ground.frame.holds(np.array([cell]))[0])
        return inside and not bool(ground.opaque[cell]) and bool(ground.distance_m[cell] >= self._clearance_m)
