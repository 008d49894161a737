"""Laser scans as the SLAM takes them, and their rays with the distortion by the robot's motion taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core import se2
from vla_core.errors import ScanError
from vla_core.types import NS, Float32, Float64

_FIX = "check the laser driver"


@dataclass(frozen=True, slots=True)
class LaserScan:
    """One turn of a planar lidar, as in sensor_msgs/LaserScan.

    Attributes:
        stamp_ns: When the first ray was measured [ns, ROS clock].
        angles_rad: float64 (N,) in the sensor's frame, anti-clockwise from x.
        ranges_m: float32 (N,); by REP 117 +inf says that nothing is within reach, NaN that nothing was measured.
            What is below range_min_m counts as not measured, what is above range_max_m as nothing within reach.
        range_min_m, range_max_m: Of the sensor [m].
        T_base_sensor: float64 (3,) x, y, yaw of the sensor [m, m, rad].
        time_increment_s: Between rays [s].

    Raises:
        ScanError: wrong sizes, numbers that aren't finite where they must be, or no ray that measured anything.
    """

    stamp_ns: int
    angles_rad: Float64
    ranges_m: Float32
    range_min_m: float
    range_max_m: float
    T_base_sensor: Float64
    time_increment_s: float = 0.0

    def __post_init__(self) -> None:
        angles, ranges = self.angles_rad, self.ranges_m
        if angles.ndim != 1 or angles.shape != ranges.shape or len(angles) == 0:
            raise ScanError(f"angles {angles.shape}, ranges {ranges.shape}", "as many of one as of the other", _FIX)
        mount = self.T_base_sensor
        if not np.isfinite(angles).all() or mount.shape != (3,) or not np.isfinite(mount).all():
            got = f"angles or a sensor pose {mount} that aren't finite numbers"
            raise ScanError(got, "finite angles and x, y, yaw", _FIX)
        if not 0.0 <= self.range_min_m < self.range_max_m < np.inf or not 0.0 <= self.time_increment_s < 1.0:
            got = f"range limits {self.range_min_m}..{self.range_max_m} m, {self.time_increment_s} s between rays"
            raise ScanError(got, "0 <= min < max < inf, 0 <= time < 1", _FIX)
        if not np.any(ranges >= self.range_min_m):
            raise ScanError(f"no measurement in {len(ranges)} rays", "ranges, or inf where nothing is", _FIX)

    @property
    def end_ns(self) -> int:
        """When the last ray was measured [ns, ROS clock]."""
        return self.stamp_ns + round((len(self.angles_rad) - 1) * self.time_increment_s * NS)


@dataclass(frozen=True, slots=True)
class Sweep:
    """The rays of a scan, in the robot's frame at the last of them.

    Attributes:
        origin: float64 (2,) the sensor's place [m].
        ends: float64 (M,2) where each ray that measured something ends [m]: at an obstacle, or at the longest range.
        hit: bool (M,) whether it ends at an obstacle.
    """

    origin: Float64
    ends: Float64
    hit: NDArray[np.bool_]

    @property
    def points(self) -> Float64:
        """Where obstacles were hit (P,2) [m]."""
        return np.ascontiguousarray(self.ends[self.hit])


def sweep(scan: LaserScan, twist: Float64) -> Sweep:
    """Take the motion during the scan out of it.

    Fewer than three rays in a row without anything within reach count as not measured: drivers tell a lost ray in the
    same way, and one alone would draw free floor through walls.

    Args:
        twist: (3,) constant velocity of the base during the scan, along its own axes [m/s, m/s, rad/s].
    """
    open_ = scan.ranges_m > scan.range_max_m
    middle = open_ & np.roll(open_, 1) & np.roll(open_, -1)
    lost = open_ & ~(middle | np.roll(middle, 1) | np.roll(middle, -1))
    measured = (scan.ranges_m >= scan.range_min_m) & ~lost
    ranges = scan.ranges_m[measured].astype(np.float64)
    hit = ranges <= scan.range_max_m
    ranges[~hit] = scan.range_max_m
    before_end_s = (np.flatnonzero(measured) - (len(scan.angles_rad) - 1)) * scan.time_increment_s
    sensors = se2.compose(se2.exp(before_end_s[:, None] * twist), scan.T_base_sensor)
    bearing = sensors[:, 2] + scan.angles_rad[measured]
    ends = sensors[:, :2] + ranges[:, None] * np.stack([np.cos(bearing), np.sin(bearing)], -1)
    return Sweep(scan.T_base_sensor[:2].copy(), ends, hit)
