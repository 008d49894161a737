"""SLAM. In: scan (10 Hz), odom, TF of the lidar on the robot, initialpose. Out: map (latched, when it has changed, at
most every map_period_s), TF map -> odom with every scan. Services ~/save_map, ~/load_map.

With pose_source lidar_inertial it is the adapter of FAST-LIVO2 to REP 105: poses come on aft_mapped_to_init.

A scan waits until odometry has passed its last ray. While the robot is lost no transform is sent, so nobody can take an
old pose for a new one; what is missing stands in /diagnostics. A clock that is set back begins a new map.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import fields
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import OccupancyGrid as GridMsg
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import LaserScan as ScanMsg
from std_srvs.srv import Trigger

from vla_core import se2
from vla_core.errors import ConfigError, MapError, ScanError, TransformError, VlaError
from vla_core.events import Events
from vla_core.types import NS
from vla_navigation import floor_conversions as conversions
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_navigation.core.slam.followed_map import FollowedMap
from vla_navigation.core.slam.odometry_track import OdometryTrack
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.slam.slam import COASTING, LOST, TRACKING, Estimate, Slam
from vla_navigation.core.slam.warm_up import warm_up
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.node import run
from vla_ros.parameters import Parameters, declare
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import now_ns, to_ns
from vla_ros.tf import TransformBroadcaster, TransformListener, transform

_SCHEMA = Path(__file__).parent / "parameters" / "slam_node.yaml"
_QUIET_S = 5.0  # refusals of one kind that are less far apart are logged once; all are counted
_WAITING = 5  # scans that may wait for odometry
_FOLLOWED = "lidar_inertial"
_LEVELS = {TRACKING: Level.OK, COASTING: Level.WARN, LOST: Level.ERROR}


class SlamNode(Node):
    """Takes scans and odometry, publishes map and map -> odom."""

    def __init__(self) -> None:
        super().__init__("slam_node")
        self._p = declare(self, _SCHEMA, self._on_parameters)
        self._params = SlamParameters(**{f.name: getattr(self._p, f.name) for f in fields(SlamParameters)})
        self._slam = self._loaded() if self._p.load_map else self._empty()
        self._track = OdometryTrack(self._p.odometry_gap_s)
        self._waiting: deque[ScanMsg] = deque()
        self._poses: deque[Odometry] = deque(maxlen=_WAITING)  # of another program, that wait for odometry
        self._estimate: Estimate | None = None
        self._published: OccupancyGrid | None = None
        self._scan_ns = -1  # end of the newest scan
        self._trouble, self._trouble_s = "", -np.inf  # what was refused last, and when [monotonic]
        self._refused: dict[str, int] = {"scan": 0, "odom": 0, "pose": 0, "transform": 0}
        self._events = Events(_QUIET_S)
        self._maps = publisher(self, "map", GridMsg)
        self._tf, self._frames = TransformBroadcaster(self), TransformListener(self)
        subscription(self, "scan", ScanMsg, self._on_scan)
        subscription(self, "odom", Odometry, self._on_odometry)
        subscription(self, "initialpose", PoseWithCovarianceStamped, self._on_initial_pose)
        if self._p.pose_source == _FOLLOWED:
            subscription(self, "aft_mapped_to_init", Odometry, self._on_pose)
        self.create_service(Trigger, "~/save_map", self._on_save)
        self.create_service(Trigger, "~/load_map", self._on_load)
        self.create_timer(self._p.map_period_s, self._publish_map)
        Diagnostics(self, self._status)

    def start(self) -> None:
        """Compile before the first scan comes."""
        warm_up(self._params)

    # -- in -----------------------------------------------------------------------------------------------------------

    def _on_odometry(self, message: Odometry) -> None:
        try:
            pose = conversions.odometry_pose(message, self._p.odom_frame, self._p.base_frame)
            stamp_ns = to_ns(message.header.stamp)
            if stamp_ns < self._track.newest_ns - NS:
                self._begin_anew("odometry")
            self._track.add(stamp_ns, pose)
        except ScanError as error:
            self._refuse("odom", error)
        self._drain()

    def _on_scan(self, message: ScanMsg) -> None:
        end_ns = conversions.scan_end_ns(message)
        if end_ns < self._scan_ns - NS:
            self._begin_anew("scan")
        self._scan_ns = end_ns
        self._waiting.append(message)
        if len(self._waiting) > _WAITING:
            self._waiting.popleft()
            behind_s = (end_ns - self._track.newest_ns) / NS
            got = "no odometry" if self._track.newest_ns < 0 else f"odometry {behind_s:.2f} s older than the scan"
            self._refuse("odom", ScanError(got, "odometry that goes on past each scan", "check the base's driver"))
        self._drain()

    def _on_pose(self, message: Odometry) -> None:
        self._poses.append(message)
        self._drain()

    def _follow(self) -> None:
        """Take every pose of the other program whose odometry is there."""
        while isinstance(self._slam, FollowedMap) and self._poses:
            message = self._poses[0]
            stamp_ns = to_ns(message.header.stamp) - round(self._p.pose_latency_s * NS)
            try:
                odometry = self._track.at(stamp_ns)
                if odometry is None:
                    return
                mount = self._frames.tree.lookup(self._p.body_frame, self._p.base_frame, stamp_ns)
                self._slam.follow(stamp_ns, conversions.matrix(message.pose.pose), mount, odometry)
            except (ScanError, TransformError) as error:
                self._refuse("transform" if isinstance(error, TransformError) else "pose", error)
            self._poses.popleft()

    def _drain(self) -> None:
        """Take every scan whose odometry is there."""
        self._follow()
        while self._waiting:
            message = self._waiting[0]
            try:
                odometry = self._track.at(conversions.scan_end_ns(message))
                if odometry is None:
                    return
                self._waiting.popleft()
                mount = self._frames.tree.lookup(
                    self._p.base_frame, message.header.frame_id, to_ns(message.header.stamp)
                )
                estimate = self._slam.update(conversions.laser_scan(message, mount), odometry)
            except (ScanError, TransformError, MapError) as error:
                if self._waiting and self._waiting[0] is message:
                    self._waiting.popleft()
                self._refuse("transform" if isinstance(error, TransformError) else "scan", error)
                continue
            self._publish(estimate)

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        """As AMCL's: where a person says that the robot is."""
        try:
            frame = message.header.frame_id.lstrip("/")
            if frame != self._p.map_frame:
                raise ScanError(f"an initial pose in '{frame}'", f"one in '{self._p.map_frame}'", "choose that frame")
            self._slam.look_near(*conversions.initial_pose(message))
            self.get_logger().info("looking for the robot around the initial pose")
        except VlaError as error:
            self._refuse("scan", error)

    def _begin_anew(self, what: str) -> None:
        self.get_logger().warning(f"the stamps of {what} went back: a new map begins")
        self._slam = self._empty()
        self._track.clear()
        self._waiting.clear()
        self._poses.clear()
        self._estimate, self._scan_ns = None, -1

    def _refuse(self, kind: str, error: VlaError) -> None:
        self._refused[kind] += 1
        self._trouble, self._trouble_s = str(error), time.monotonic()
        if self._events.begins(f"{kind}: {error.expected}", self._trouble_s):
            self.get_logger().warning(self._trouble)

    # -- out ----------------------------------------------------------------------------------------------------------

    def _publish(self, estimate: Estimate) -> None:
        before = TRACKING if self._estimate is None else self._estimate.status
        self._estimate = estimate
        if (LOST in (before, estimate.status)) and before != estimate.status:
            self.get_logger().warning(f"the robot was {before}, now {estimate.status}")
        if estimate.status != LOST:
            ahead_ns = round(self._p.transform_tolerance_s * NS)
            x, y, yaw = estimate.map_odom
            quaternion = (0.0, 0.0, np.sin(0.5 * yaw), np.cos(0.5 * yaw))
            frames = self._p.map_frame, self._p.odom_frame
            self._tf.send([transform(*frames, estimate.stamp_ns + ahead_ns, (x, y, 0.0), quaternion)])
        if self._published is None:
            self._publish_map()

    def _publish_map(self) -> None:
        if self._estimate is None:
            return
        grid, old = self._slam.grid(), self._published
        if old is not None and np.array_equal(grid.origin, old.origin) and np.array_equal(grid.cells, old.cells):
            return
        self._published = grid
        self._maps.publish(
            conversions.grid_msg(grid.cells, grid.resolution_m, grid.origin, self._estimate.stamp_ns, self._p.map_frame)
        )

    def _status(self) -> list[Status]:
        values: dict[str, object] = {f"refused_{kind}": count for kind, count in self._refused.items()}
        now, stale_ns = now_ns(self), self._p.stale_s * NS
        for name, stamp_ns in (("scan", self._scan_ns), ("odometry", self._track.newest_ns)):
            if stamp_ns < 0:
                return [Status(Level.WARN, f"no {name} yet", values)]
            if now - stamp_ns > stale_ns:
                return [Status(Level.ERROR, f"the last {name} is {(now - stamp_ns) / NS:.1f} s old", values)]
        estimate, recent = self._estimate, time.monotonic() - self._trouble_s < _QUIET_S
        if estimate is None or now - estimate.stamp_ns > stale_ns:
            return [Status(Level.ERROR, self._trouble if recent else "no scan could be used", values)]
        values |= {
            "overlap": estimate.overlap, "residual_m": estimate.residual_m, "weak": estimate.weak,
            "keyframes": len(self._slam.keyframes), "x_std_m": float(np.sqrt(estimate.covariance[0, 0])),
            "y_std_m": float(np.sqrt(estimate.covariance[1, 1])),
            "yaw_std_rad": float(np.sqrt(estimate.covariance[2, 2])), "yaw_rad": float(se2.wrap(estimate.pose[2])),
        }  # fmt: skip
        level = max(_LEVELS[estimate.status], Level.WARN if recent else Level.OK)
        text = f"{estimate.status}; {self._trouble}" if recent else estimate.status
        return [Status(level, text, values)]

    # -- files --------------------------------------------------------------------------------------------------------

    def _empty(self) -> Slam | FollowedMap:
        return FollowedMap(self._params) if self._p.pose_source == _FOLLOWED else Slam(self._params)

    def _loaded(self) -> Slam:
        if self._p.pose_source == _FOLLOWED:
            fix = "let the other program load its map"
            raise ConfigError("a map to load, at followed poses", "pose_source scan_matching", fix)
        return Slam.load(self._path(), self._params)

    def _path(self) -> Path:
        if not self._p.map_path:
            raise ConfigError("no map_path", "a path without ending", "set parameter map_path of slam_node")
        return Path(self._p.map_path)

    def _on_save(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            path = self._path()
            self._slam.save(path)
            files = ".yaml and .pgm" if isinstance(self._slam, FollowedMap) else ".yaml, .pgm and .npz"
            response.success, response.message = True, f"saved {path}{files}"
        except VlaError as error:
            response.message = str(error)
        return response

    def _on_load(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            path = self._path()
            self._slam = self._loaded()
            self._estimate = self._published = None
            response.success, response.message = True, f"loaded {path}.npz; the robot is lost until it is found there"
        except VlaError as error:
            response.message = str(error)
        return response

    def _on_parameters(self, values: Parameters) -> None:
        self._p = values


def main() -> None:
    """Entry point."""
    sys.exit(run(SlamNode))


if __name__ == "__main__":
    main()
