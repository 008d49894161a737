"""A differential robot on its way through a world: what it is told of its motion, and what its lidar sees.

The truth stays here and in the score; odometry and scans are all that a SLAM is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vla_core import se2
from vla_core.types import NS, Float64
from vla_navigation.core.slam.scan import LaserScan
from vla_navigation.core.worlds.walls import World, cast

_PERIOD_S = 0.1
_ARRIVED_M = 0.1
_TURN_GAIN, _FACING_RAD = 2.5, 0.7
_ACCELERATION = np.array([0.1, 0.3])  # change per period of speed [m/s] and turn rate [rad/s]
_LONGEST = 20_000  # scans of a way


@dataclass(frozen=True, slots=True)
class Drive:
    """How the robot moves and what it measures.

    Attributes:
        speed_m_s, turn_rad_s: Largest of the robot.
        odometry_error: Share of the motion: each of the scales of distance and of turning, and the drift [rad/m], is
            off by up to this share all the time, and each step by as much again (standard deviation).
        slip: Share of steps in which the wheels turn further than the robot moves.
        slip_m: How much further they turn then [m].
        rays: Of one turn of the lidar, which takes a period of 0.1 s.
        range_max_m: Of the lidar [m].
        range_noise_m: Standard deviation of a range [m].
        dropouts: Share of rays that come back as if there were nothing.
    """

    speed_m_s: float = 0.4
    turn_rad_s: float = 0.9
    odometry_error: float = 0.05
    slip: float = 0.01
    slip_m: float = 0.02
    rays: int = 360
    range_max_m: float = 12.0
    range_noise_m: float = 0.01
    dropouts: float = 0.02


@dataclass(frozen=True, slots=True)
class Moment:
    """What there is at the end of one scan.

    Attributes:
        scan: As measured.
        odometry: odom -> base (3,) at the scan's last ray.
        truth: world -> base (3,) at that time.
    """

    scan: LaserScan
    odometry: Float64
    truth: Float64


def drive(world: World, seed: int, how: Drive | None = None) -> Iterator[Moment]:
    """Drive the world's way; scans of one turn each, distorted by the motion during it.

    Args:
        seed: Of all noise.
        how: Robot and lidar; None: as by default.
    """
    how = how or Drive()
    rng = np.random.default_rng(seed)
    scales = 1.0 + rng.uniform(-how.odometry_error, how.odometry_error, 2)
    drift_rad_m = rng.uniform(-how.odometry_error, how.odometry_error)
    turn = np.linspace(-np.pi, np.pi, how.rays, endpoint=False)
    mount = np.array([0.1, 0.0, 0.0])
    odometry = np.zeros(3)
    for i, (before, truth) in enumerate(_way(world.way, how)):
        motion = se2.log(se2.between(before, truth))
        noisy = motion.copy()
        noisy[0] *= scales[0] * (1.0 + rng.normal(0.0, how.odometry_error))
        noisy[2] *= scales[1] * (1.0 + rng.normal(0.0, how.odometry_error))
        noisy[2] += drift_rad_m * abs(motion[0])
        if motion[0] > 0.5 * how.speed_m_s * _PERIOD_S and rng.random() < how.slip:
            noisy[0] += how.slip_m
        odometry = se2.compose(odometry, se2.exp(noisy))
        share = (np.arange(how.rays) + 1.0) / how.rays  # of the turn, at which each ray is measured
        sensors = se2.compose(se2.compose(before, se2.exp(share[:, None] * motion)), mount)
        ranges = cast(world.walls, np.ascontiguousarray(sensors[:, :2]), sensors[:, 2] + turn)
        ranges += rng.normal(0.0, how.range_noise_m, how.rays)
        ranges[(ranges > how.range_max_m) | (rng.random(how.rays) < how.dropouts)] = np.inf
        step_s = _PERIOD_S / how.rays
        stamp_ns = round((i + 1) * _PERIOD_S * NS) + round(step_s * NS)
        scan = LaserScan(stamp_ns, turn, ranges.astype(np.float32), 0.05, how.range_max_m, mount, step_s)
        yield Moment(scan, odometry.copy(), truth.copy())


def _way(points: Float64, how: Drive) -> Iterator[tuple[Float64, Float64]]:
    """Poses at the begin and at the end of every period, from a standstill at the first point."""
    first = points[1] - points[0]
    pose = np.array([*points[0], np.arctan2(first[1], first[0])])
    velocity, goal = np.zeros(2), 1
    for _ in range(_LONGEST):
        if np.hypot(*(points[goal] - pose[:2])) < _ARRIVED_M:
            goal += 1
            if goal == len(points):
                return
        ahead = points[goal] - pose[:2]
        error = float(se2.wrap(np.arctan2(ahead[1], ahead[0]) - pose[2]))
        speed = how.speed_m_s * max(0.0, np.cos(error)) if abs(error) < _FACING_RAD else 0.0
        wanted = np.array([speed, np.clip(_TURN_GAIN * error, -how.turn_rad_s, how.turn_rad_s)])
        velocity = velocity + np.clip(wanted - velocity, -_ACCELERATION, _ACCELERATION)
        after = se2.compose(pose, se2.exp(np.array([velocity[0], 0.0, velocity[1]]) * _PERIOD_S))
        yield pose, after
        pose = after
