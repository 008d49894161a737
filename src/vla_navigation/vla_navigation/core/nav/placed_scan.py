"""One turn of a planar lidar, and where it was taken from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core import se2
from vla_core.types import Bool, Float64

_KNOWN_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class PlacedScan:
    """A scan with the place that it was taken from.

    Attributes:
        stamp_ns: Capture time [ns, ROS clock].
        pose: (3,) of the lidar in the map at that time.
        angles_rad: (N,) in the lidar's frame.
        ranges_m: (N,); inf: nothing within reach; NaN, or nearer than `range_min_m`: no reading.
        range_min_m, range_max_m: What the lidar can measure.
    """

    stamp_ns: int
    pose: Float64
    angles_rad: Float64
    ranges_m: Float64
    range_min_m: float
    range_max_m: float

    def met(self) -> Bool:
        """Rays (N,) that met something."""
        return np.asarray((self.ranges_m >= self.range_min_m) & (self.ranges_m <= self.range_max_m))

    def hits(self) -> Float64:
        """Points (M,2) of the map frame where the M rays that met something end."""
        met = self.met()
        angles, ranges = self.angles_rad[met], self.ranges_m[met]
        return se2.transform(self.pose, np.stack([ranges * np.cos(angles), ranges * np.sin(angles)], 1))

    def tells_enough(self) -> bool:
        """Whether it can be driven by: half of the rays tell something, and one met something. Indoors a lidar that
        meets nothing in any direction is covered or broken, though by REP 117 it says that all is free."""
        told = self.ranges_m >= self.range_min_m  # false for NaN
        return bool(len(told) and told.mean() >= _KNOWN_SHARE and self.met().any())
