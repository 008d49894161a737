"""Jerk-limited joins and stops (Ruckig: Berscheid & Kroeger, "Jerk-limited real-time trajectory generation", 2021).

Ruckig's profiles use all the jerk that they may, whatever there is to make good: they lead some 1 mrad off a curve that
the motion is on already, and an arm that is to stay where it is, to rounding, may twitch as far. So a small difference
d between the motion and its target fades, by the quintic that leads from d, d', d'' to rest at 0 (minimum jerk: Flash &
Hogan, "The coordination of arm movements", 1985), and a motion that continues its target follows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial.polynomial import polyder, polyval
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
_LOOKS = 11  # at a difference that is to fade
#: Coefficients of 1, u .. u^5 of what leads from a value, a slope, and half a curvature of 1 at u = 0 to rest at u = 1.
_FADE = np.array([[1, 0, 0, -10, 15, -6], [0, 1, 0, -6, 8, -3], [0, 0, 1, -3, 3, -1]], np.float64)


@dataclass(frozen=True, slots=True)
class Segment:
    """A motion of its own clock, from 0 to `duration_s`; `at_time` tells it at one time, three times (J,)."""

    at_time: Callable[[float], Any]
    duration_s: float

    def sample(self, times_s: Float64) -> Motion:
        """Motion at `times_s` (N,), N >= 1, within 0..duration_s; three arrays (N,J)."""
        rows = np.array([self.at_time(float(t)) for t in times_s])
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
        self,
        start: Motion,
        target: Callable[[float], Motion],
        shortest_s: float,
        longest_s: float,
        is_smooth: bool = True,
    ) -> tuple[Segment, float]:
        """Lead a motion over to a moving target, with position, velocity and acceleration continuous.

        The join takes the shortest time T >= `shortest_s` after which it meets `target(T)` on time. When none up to
        `longest_s` does, it meets `target(longest_s)` late. A small difference fades on the way there.

        Args:
            start: Motion now.
            target: Motion of the target at a time from now [s].
            shortest_s, longest_s: Bounds of the join's duration [s].
            is_smooth: Whether velocity and acceleration of the target are continuous from 0 to `shortest_s`.

        Returns:
            The join and how late it meets the target [s]; 0 when on time.

        Raises:
            ChunkError: no motion within the limits leads there.
        """
        time_s = min(shortest_s, longest_s)
        faded = self._fade(start, target, time_s) if is_smooth else None
        if faded is not None:
            return faded, 0.0
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

    def _fade(self, start: Motion, target: Callable[[float], Motion], time_s: float) -> Segment | None:
        """The target, and a difference from it that fades within `time_s`; None if that is beyond our shares."""
        weights = 1.0, time_s, 0.5 * time_s**2
        apart = np.array([w * (s - t) for w, s, t in zip(weights, start, target(0.0), strict=True)])
        fading = [polyder(_FADE.T @ apart, order) / time_s**order for order in range(4)]

        def at_time(at_s: float) -> tuple[Float64, ...]:
            return tuple(t + polyval(at_s / time_s, f) for t, f in zip(target(at_s), fading, strict=False))

        segment, u = Segment(at_time, time_s), np.linspace(0.0, 1.0, _LOOKS)
        _, speed, acceleration = segment.sample(time_s * u)
        jerk = np.diff(acceleration - polyval(u, fading[2]).T, axis=0) * (_LOOKS - 1) / time_s  # of the target
        most, config = np.abs(jerk).max(axis=0) + np.abs(polyval(u, fading[3])).max(axis=1), self._config
        fits = (
            np.all(most <= JERK_SHARE * config.jerk_rad_s3)
            and np.all(np.abs(speed) <= VELOCITY_SHARE * config.velocity_rad_s)
            and np.all(np.abs(acceleration) <= ACCELERATION_SHARE * config.acceleration_rad_s2)
        )
        return segment if fits else None

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
        return Segment(trajectory.at_time, float(trajectory.duration))
