"""A map drawn at poses that a lidar-inertial odometry tells (FAST-LIVO2, FAST-LIO2), in the frames of REP 105.

Such a program says where its body, the IMU, is in a world of its own that begins, tilted as it may be, with the IMU's
first pose. Here the map begins with the base at its first pose instead, level as the base stands:

    T_map_base = (T_world_body(0) T_body_base)^-1 T_world_body(t) T_body_base,   map -> odom = T_map_base T_odom_base^-1

Between two of its poses the robot goes on by odometry, as behind every SLAM. A program that was away for seconds, or
was started again in another world, takes up where odometry has the robot.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_core import se2
from vla_core.errors import MapError, ScanError
from vla_core.frames import lifted, planar
from vla_core.types import NS, Float64
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_navigation.core.slam.log_odds import LogOddsGrid
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.slam.scan import LaserScan, sweep
from vla_navigation.core.slam.slam import COASTING, LOST, TRACKING, Estimate

_COAST_S, _LOST_S = 0.5, 2.0  # since the last pose
_JUMP_M, _JUMP_RAD = 0.3, 0.2  # from pose to pose, off odometry: no drift, the other program has lost its way
_TURNED_RAD = 0.2  # a sweep is also due after this


class FollowedMap:
    """Has the interface of Slam; poses come by `follow`.

    Args:
        params: Resolution, and the distance from sweep to sweep.
    """

    def __init__(self, params: SlamParameters) -> None:
        self._params, self._odds = params, LogOddsGrid(params.resolution_m)
        self._T_map_world: Float64 = np.eye(4)
        self._map_odom: Float64 = np.zeros(3)
        self._followed_ns = -1
        self._last: tuple[int, Float64] | None = None  # stamp [ns] and odometry of the last scan
        self._drawn: list[Float64] = []

    @property
    def keyframes(self) -> Float64:
        """Poses (K,3) that sweeps were drawn at."""
        return np.array(self._drawn).reshape(-1, 3)

    def grid(self) -> OccupancyGrid:
        """The map as a grid."""
        return self._odds.grid()

    def save(self, path: Path) -> None:
        """Write `<path>.yaml` and `<path>.pgm`.

        Raises:
            MapError: the files can't be written.
        """
        self.grid().save(path)

    def look_near(self, pose: Float64, reach_m: float, reach_rad: float) -> None:
        """Nothing is looked for here.

        Raises:
            MapError: always.
        """
        fix = "tell it the program whose poses are followed"
        raise MapError(f"a pose {pose} for a map at followed poses", "pose_source: scan_matching", fix)

    def follow(self, stamp_ns: int, T_world_body: Float64, T_body_base: Float64, odometry: Float64) -> None:
        """Take a pose.

        Args:
            stamp_ns: When the robot was there [ns, ROS clock].
            T_world_body: (4,4) of the other program's body in its world. T_body_base: (4,4) of the base in its body.
            odometry: (3,) odom -> base at that time.

        Raises:
            ScanError: a stamp that doesn't grow, or a jump; nothing has changed.
        """
        if stamp_ns <= self._followed_ns:
            got = f"a pose of {stamp_ns} ns after one of {self._followed_ns} ns"
            raise ScanError(got, "stamps that grow", "check the other program's clock, start again after a reset")
        T_world_base, expected = T_world_body @ T_body_base, se2.compose(self._map_odom, odometry)
        if self._followed_ns < 0 or stamp_ns - self._followed_ns > _LOST_S * NS:
            begun = expected if self._followed_ns >= 0 else np.zeros(3)
            self._T_map_world = lifted(begun) @ np.linalg.inv(T_world_base)
        pose = planar(self._T_map_world @ T_world_base)
        off_m, off_rad = float(np.hypot(*(pose - expected)[:2])), abs(float(se2.wrap(pose[2] - expected[2])))
        if self._followed_ns >= 0 and (off_m > _JUMP_M or off_rad > _JUMP_RAD):
            got = f"a pose {off_m:.2f} m and {off_rad:.2f} rad off the odometry since the last"
            fix = "start the other program again; check its IMU and extrinsics"
            raise ScanError(got, f"at most {_JUMP_M} m and {_JUMP_RAD} rad", fix)
        self._map_odom, self._followed_ns = se2.compose(pose, se2.inverse(odometry)), stamp_ns

    def update(self, scan: LaserScan, odometry: Float64) -> Estimate:
        """Draw a scan where the robot is, if it comes to see something new.

        Args:
            odometry: (3,) odom -> base at the scan's last ray.

        Returns:
            As Slam; what nobody matched (covariance, overlap, residual, weak) is NaN.

        Raises:
            ScanError: a scan that isn't newer than the last one.
            MapError: the map would become too large.
        """
        if self._last is not None and scan.end_ns <= self._last[0]:
            got = f"a scan of {scan.end_ns} ns after one of {self._last[0]} ns"
            raise ScanError(got, "stamps that grow", "check the clock, start again after a reset")
        twist: Float64 = np.zeros(3)
        if self._last is not None:
            twist = se2.log(se2.between(self._last[1], odometry)) * NS / (scan.end_ns - self._last[0])
        self._last = scan.end_ns, odometry.copy()
        age_s = (scan.end_ns - self._followed_ns) / NS
        unknown = self._followed_ns < 0 or age_s > _LOST_S
        status = LOST if unknown else COASTING if age_s > _COAST_S else TRACKING
        pose, events = se2.compose(self._map_odom, odometry), []
        seen = sweep(scan, twist)
        if status == TRACKING and self._is_due(pose) and seen.hit.any():  # all free: a lidar that is covered
            self._odds.add(seen, pose)
            self._drawn.append(pose)
            events.append("keyframe")
        return Estimate(
            scan.end_ns, pose, self._map_odom.copy(), np.full((3, 3), np.nan), status, np.nan, np.nan, np.nan,
            tuple(events),
        )  # fmt: skip

    def _is_due(self, pose: Float64) -> bool:
        if not self._drawn:
            return True
        x, y, yaw = se2.between(self._drawn[-1], pose)
        return bool(np.hypot(x, y) > 0.5 * self._params.keyframe_distance_m or abs(yaw) > _TURNED_RAD)
