"""Jerk-limited joins and stops (Ruckig: Berscheid & Kroeger, "Jerk-limited real-time trajectory generation", 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ruckig import ControlInterface, InputParameter, Result, Ruckig, RuckigError, Synchronization, Trajectory

from vla_control.core.knots import JERK_SHARE
from vla_control.core.robot import RobotConfig
from vla_core.errors import ChunkError
from vla_core.types import Float64

#: Position, velocity and acceleration [rad, rad/s, rad/s^2], each (J,).
Motion = tuple[Float64, Float64, Float64]

#: Shares of the velocity and acceleration limits that blends and stops may use; the rest is numerical slack and the
#: overshoot of the interpolation between knots.
VELOCITY_SHARE, ACCELERATION_SHARE = 0.97, 0.9
_GROWTH = 1.3
_EXACT_S = 1e-7
_SLACK = 1.0 + 1e-9


@dataclass(frozen=True, slots=True)
class Segment:
    """A motion of its own clock, from 0 to `duration_s`."""

    trajectory: Any
    duration_s: float

    def sample(self, times_s: Float64) -> Motion:
        """Motion at `times_s` (N,) within 0..duration_s; three arrays (N,J)."""
        rows = np.array([self.trajectory.at_time(float(t)) for t in times_s])
        return rows[:, 0], rows[:, 1], rows[:, 2]


class Blender:
    """Plans joins and stops within the robot's limits."""

    def __init__(self, config: RobotConfig) -> None:
        joints = len(config.joints)
        self._otg = Ruckig(joints)
        self._config = config
        self._join, self._stop = InputParameter(joints), InputParameter(joints)
        for inputs in (self._join, self._stop):
            inputs.max_velocity = config.velocity_rad_s * VELOCITY_SHARE
            inputs.max_acceleration = config.acceleration_rad_s2 * ACCELERATION_SHARE
            inputs.max_jerk = config.jerk_rad_s3 * JERK_SHARE
        self._stop.control_interface = ControlInterface.Velocity
        self._stop.synchronization = Synchronization.No  # the shortest way for every joint: `stop_point` relies on it
        self._stop.target_velocity = np.zeros(joints)
        self._stop.target_acceleration = np.zeros(joints)

    def brake(self, start: Motion) -> Segment:
        """Bring a motion to rest as fast as the limits allow.

        Raises:
            ChunkError: the motion can't be stopped within the limits (it must have left them before).
        """
        return self._calculate(self._stop, start)

    def join(
        self, start: Motion, target: Callable[[float], Motion], shortest_s: float, longest_s: float
    ) -> tuple[Segment, float]:
        """Lead a motion over to a moving target, with position, velocity and acceleration continuous.

        The join takes the shortest time T >= `shortest_s` after which it meets `target(T)` on time. When none up to
        `longest_s` does, it meets `target(longest_s)` late.

        Args:
            start: Motion now.
            target: Motion of the target at a time from now [s].
            shortest_s, longest_s: Bounds of the join's duration [s].

        Returns:
            The join and how late it meets the target [s]; 0 when on time.

        Raises:
            ChunkError: no motion within the limits leads there.
        """
        time_s = min(shortest_s, longest_s)
        while True:
            self._aim(target(time_s))
            self._join.minimum_duration = time_s
            segment = self._calculate(self._join, start)
            late_s = segment.duration_s - time_s
            if late_s <= _EXACT_S:
                return segment, 0.0
            if time_s >= longest_s:
                return segment, late_s
            time_s = min(longest_s, _GROWTH * time_s)

    def _aim(self, target: Motion) -> None:
        """Set the end of a join. An end that uses more than our share of a limit is allowed what the robot allows."""
        join, config = self._join, self._config
        join.target_position, join.target_velocity, join.target_acceleration = target
        shares = config.velocity_rad_s * VELOCITY_SHARE, config.acceleration_rad_s2 * ACCELERATION_SHARE
        wanted = (np.abs(value) * _SLACK for value in target[1:])
        join.max_velocity, join.max_acceleration = (
            np.clip(want, share, limit)
            for want, share, limit in zip(
                wanted, shares, (config.velocity_rad_s, config.acceleration_rad_s2), strict=True
            )
        )

    def _calculate(self, inputs: Any, start: Motion) -> Segment:
        inputs.current_position, inputs.current_velocity, inputs.current_acceleration = start
        trajectory = Trajectory(len(start[0]))
        try:
            result = self._otg.calculate(inputs, trajectory)
            problem = "" if result in (Result.Working, Result.Finished) else result.name
        except RuckigError as error:
            problem = " ".join(str(error).split())
        if problem:
            got = f"a motion from {np.round(start[1], 2).tolist()} rad/s that can't be planned ({problem})"
            raise ChunkError(got, "a start and an end within the robot's limits", "check the limits in config/robots")
        return Segment(trajectory, float(trajectory.duration))
