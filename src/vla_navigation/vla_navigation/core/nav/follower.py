"""Follows a plan: where the robot is on it, whether it is still free, and MPPI along it."""

from __future__ import annotations

import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_core.types import Float64
from vla_navigation.core.nav.costmap import Costmap
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.mppi import Mppi, Surroundings
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.planner import Plan

_HALF_M = 4.0  # half side of the part of the costmap that is looked at; more than a rollout reaches
_LOOK_POINTS, _BLOCKED_POINTS = 8, 30  # of the path, 0.1 m apart: to face, and to be free
_SEARCH_POINTS = 30  # the robot doesn't jump along the path
_NO_WAY = 50.0  # [m of free way] cost-to-go of cells that no way leads on from


class Follower:
    """Local side of the navigator.

    Attributes:
        plan: In use; None before the first.
        left_m: What is left of its path.
    """

    def __init__(self, base: BaseConfig, footprint: Footprint, params: NavigatorParameters) -> None:
        self._mppi, self._inscribed_m = Mppi(base, footprint, params), footprint.inscribed_m
        self.drop()

    def drop(self) -> None:
        """Forget the plan."""
        self.plan: Plan | None = None
        self.left_m = 0.0
        self._place = 0
        self._mppi.reset()

    def follow(self, plan: Plan) -> None:
        """Follow another plan, that begins where the robot is."""
        self.plan, self._place, self.left_m = plan, 0, plan.length_m

    def deviated(self) -> None:
        """The base did not do what was asked for: the next motion is thought of anew."""
        self._mppi.reset()

    def look(self, pose: Float64, costmap: Costmap) -> None:
        """Renew the surroundings of a robot at (3,), and its place on the path."""
        self._window = costmap.window(pose[0], pose[1], _HALF_M)
        self._frame, self._distance = costmap.frame.part(self._window), costmap.distance_m(self._window)
        if self.plan is not None:
            points = self.plan.path[self._place : self._place + _SEARCH_POINTS, :2]
            self._place += int(np.argmin(np.hypot(*(points - pose[:2]).T)))
            ahead = self.plan.path[self._place :, :2]
            steps = np.linalg.norm(np.diff(ahead, axis=0), axis=1)
            self.left_m = float(np.hypot(*(ahead[0] - pose[:2])) + steps.sum())

    def is_blocked(self) -> bool:
        """Whether there is no plan, or its path isn't free over its next metres."""
        if self.plan is None:
            return True
        cells = self._frame.cells(self.plan.path[self._place + 1 : self._place + _BLOCKED_POINTS, :2])
        inside = cells[self._frame.holds(cells)]
        return bool((self._distance[tuple(inside.T)] < self._inscribed_m).any())

    def twist(self, pose: Float64, sent: Float64, moving: Float64) -> Float64 | None:
        """The next twist (3,) after `sent`; None when MPPI finds none that touches nothing. Needs `look` before.

        Args:
            pose: (3,) of the base. sent: (3,) given last. moving: (M,5) of `MovingTracker`.
        """
        assert self.plan is not None
        field = np.minimum(self.plan.field[self._window], np.float32(_NO_WAY))
        ahead = self.plan.path[min(len(self.plan.path) - 1, self._place + _LOOK_POINTS), :2]
        around = Surroundings(field, self._distance, self._frame, ahead, self.plan.goal, moving, self.left_m)
        return self._mppi.command(pose, sent, around)
