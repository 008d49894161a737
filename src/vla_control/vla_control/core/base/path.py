"""The base's share of a plan: velocities at the knots of the arm's trajectory, so that both keep one time base."""

from __future__ import annotations

import numpy as np

from vla_control.core.trajectory import Trajectory
from vla_core.types import Float64


class BasePath:
    """Velocities by time, piecewise constant; zero before, behind, and until there is a path."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Stand still."""
        self._twists, self._start_ns, self._knot_ns = np.zeros((0, 3)), 0, 1

    def at(self, stamp_ns: int) -> Float64:
        """Velocity (3,) at `stamp_ns`: vx, vy [m/s], wz [rad/s]."""
        k = (stamp_ns - self._start_ns) // self._knot_ns
        return self._twists[k].copy() if 0 <= k < len(self._twists) else np.zeros(3)

    def follow(self, trajectory: Trajectory, twists: Float64, dt_s: float, knot_dt_s: float) -> None:
        """Leave the present path where a new plan leaves the old one.

        Where the plan was slowed down to keep the arm's limits, the base slows down with it; it stands while the arm
        brakes.

        Args:
            trajectory: The new plan; its `chunk_s` says which step is due at each knot.
            twists: (R,3) of the steps that `chunk_s` counts from 0 on, each holding for `dt_s`; (0,3): stand still.
            dt_s: Time between steps [s].
            knot_dt_s: Time between knots [s].
        """
        place, knot_ns = trajectory.chunk_s, round(knot_dt_s * 1e9)
        before = int(np.count_nonzero(np.isnan(place)))
        new = np.zeros((len(place), 3))
        for k in range(before):
            new[k] = self.at(trajectory.start_ns + k * knot_ns)
        step = np.maximum(0, np.floor(place[before:] / dt_s + 1e-6).astype(int))  # the arm may join later than the base
        inside = step < len(twists)
        new[before:][inside] = twists[step[inside]] / trajectory.stretch
        if len(twists) and inside.any() and inside[-1]:  # the plan ends where the last step begins
            left_s = (len(twists) * dt_s - place[-1]) * trajectory.stretch
            new = np.concatenate([new, np.tile(new[-1], (max(0, round(left_s / knot_dt_s) - 1), 1))])
        self._twists, self._start_ns, self._knot_ns = new, trajectory.start_ns, knot_ns
