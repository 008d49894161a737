"""Wheel odometry: encoder ticks of wheels whose size the driver knows only roughly, and which slip.

Errors that stay for a run (wheel radii, track: Borenstein & Feng, "Measurement and correction of systematic odometry
errors in mobile robots", 1996) and random ones, whose variance grows with a wheel's way; plus slip, a share of the way
that comes and goes. Whatever makes wheels spin in the simulation, e.g. pushing a wall, is in the ticks anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.types import Float64

_SLIP_TIME_S = 1.0  # over which slip changes


@dataclass(frozen=True, slots=True)
class OdometryConfig:
    """Errors of an odometry; see config/scenes/flat.yaml. All but rate_hz and ticks are standard deviations."""

    rate_hz: float
    ticks_per_turn: int
    radius_error: float
    track_error: float
    noise: float
    slip: float


@dataclass(frozen=True, slots=True)
class Odometry:
    """Pose in the odom frame, where the run began, and twist in the base frame.

    Attributes:
        x, y, yaw: [m], [rad].
        vx, wz: [m/s], [rad/s].
        covariance: float64 (3,3) of x, y, yaw.
        twist_covariance: float64 (2,2) of vx, wz.
    """

    x: float
    y: float
    yaw: float
    vx: float
    wz: float
    covariance: Float64
    twist_covariance: Float64


class WheelOdometry:
    """Integrates the wheels of a differential drive.

    Args:
        config: Its errors.
        radius_m, track_m: What the driver believes.
        rng: Of the errors.
    """

    def __init__(self, config: OdometryConfig, radius_m: float, track_m: float, rng: np.random.Generator) -> None:
        self._config, self._radius, self._rng = config, radius_m, rng
        self._scale = 1.0 + rng.normal(0.0, config.radius_error, 2)
        self._track = track_m * (1.0 + rng.normal(0.0, config.track_error))
        self._slip = rng.normal(0.0, config.slip, 2)
        self._wheels: Float64 | None = None
        self._turned, self._counted = np.zeros(2), np.zeros(2)
        self._pose, self._covariance = np.zeros(3), np.zeros((3, 3))

    def update(self, wheels_rad: Float64, dt_s: float) -> Odometry:
        """Take the wheels' angles (left, right) [rad] `dt_s` after the last ones; the first call begins the run."""
        if self._wheels is None:
            self._wheels = np.array(wheels_rad)
            return Odometry(0.0, 0.0, 0.0, 0.0, 0.0, self._covariance.copy(), np.zeros((2, 2)))
        way = self._measured(np.asarray(wheels_rad) - self._wheels, dt_s)
        self._wheels = np.array(wheels_rad)
        forward, turn = way.mean(), (way[1] - way[0]) / self._track
        self._spread(way, turn, forward)
        heading = self._pose[2] + turn / 2
        self._pose += [forward * np.cos(heading), forward * np.sin(heading), turn]
        self._pose[2] = np.arctan2(np.sin(self._pose[2]), np.cos(self._pose[2]))
        x, y, yaw = (float(v) for v in self._pose)
        speed, rate = float(forward / dt_s), float(turn / dt_s)
        return Odometry(x, y, yaw, speed, rate, self._covariance.copy(), self._twist_spread(way, dt_s))

    def _measured(self, turned: Float64, dt_s: float) -> Float64:
        """The ways (2,) [m] that the driver reads out of the ticks."""
        config = self._config
        keep = np.exp(-dt_s / _SLIP_TIME_S)
        fresh = self._rng.normal(0.0, config.slip, 2) * np.sqrt(1.0 - keep**2)
        self._slip = keep * self._slip + fresh
        spread = config.noise * np.sqrt(np.abs(turned) * self._radius) / self._radius
        self._turned += turned * self._scale * (1.0 + self._slip) + self._rng.normal(0.0, 1.0, 2) * spread
        tick = 2 * np.pi / config.ticks_per_turn
        counted = np.floor(self._turned / tick)
        way: Float64 = (counted - self._counted) * tick * self._radius
        self._counted = counted
        return way

    def _spread(self, way: Float64, turn: float, forward: float) -> None:
        """First-order covariance of the pose, from what the driver expects of its wheels."""
        heading, track = self._pose[2] + turn / 2, self._track
        cos, sin = np.cos(heading), np.sin(heading)
        motion = np.eye(3)
        motion[:2, 2] = [-forward * sin, forward * cos]
        half, lever = 0.5, forward / (2 * track)
        wheels = np.array([[half * cos + lever * sin, half * cos - lever * sin],
                           [half * sin - lever * cos, half * sin + lever * cos], [-1 / track, 1 / track]])  # fmt: skip
        self._covariance = motion @ self._covariance @ motion.T + wheels @ np.diag(self._variance(way)) @ wheels.T

    def _variance(self, way: Float64) -> Float64:
        """Of the ways (2,) [m^2]."""
        config = self._config
        variance: Float64 = config.noise**2 * np.abs(way) + (config.radius_error**2 + config.slip**2) * way**2
        return variance

    def _twist_spread(self, way: Float64, dt_s: float) -> Float64:
        """Covariance (2,2) of vx, wz; a way is a difference of two counts, each rounded to a tick."""
        tick_m = 2 * np.pi / self._config.ticks_per_turn * self._radius
        to_twist = np.array([[0.5, 0.5], [-1.0 / self._track, 1.0 / self._track]]) / dt_s
        return to_twist @ np.diag(self._variance(way) + tick_m**2 / 6) @ to_twist.T
