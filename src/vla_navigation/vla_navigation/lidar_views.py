"""What a navigator's lidars saw, placed in the map by TF: the newest planar scan, and points in space."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from sensor_msgs.msg import LaserScan, PointCloud2

from vla_core.errors import ScanError, TransformError
from vla_core.frames import FrameTree
from vla_core.types import NS
from vla_navigation import floor_conversions
from vla_navigation.core.nav.overhead_layer import PlacedPoints
from vla_navigation.core.nav.placed_scan import PlacedScan
from vla_ros.qos import subscription
from vla_ros.stamps import to_ns

_CLOUDS_NS = NS // 12  # least time between two clouds that are used


class LidarViews:
    """Hears `scan`, and `points` once asked to.

    Args:
        node: Its owner. tree: Of TF. map_frame: REP-105.
        refuse: Takes a sentence on why a view can't be placed now, and '' once one could.

    Attributes:
        scan: The newest that could be placed; None before the first.
    """

    def __init__(self, node: Node, tree: FrameTree, map_frame: str, refuse: Callable[[str], None]) -> None:
        self.scan: PlacedScan | None = None
        self._node, self._tree, self._map_frame, self._refuse = node, tree, map_frame, refuse
        self._scan: LaserScan | None = None  # newest message, until it can be placed
        self._cloud: PointCloud2 | None = None
        self._cloud_ns, self._hears_points = -1, False
        subscription(node, "scan", LaserScan, self._on_scan)

    def hear_points(self) -> None:
        """From now on also a lidar in space."""
        if not self._hears_points:
            subscription(self._node, "points", PointCloud2, self._on_points)
            self._hears_points = True

    def forget(self) -> None:
        """The clock was set back: what came before means nothing."""
        self.scan = self._scan = self._cloud = None

    def place(self) -> None:
        """Renew `scan` by the pose of the lidar in the middle of the newest one, as soon as that is known."""
        message = self._scan
        if message is None:
            return
        begin_ns = to_ns(message.header.stamp)
        middle_ns = (begin_ns + floor_conversions.scan_end_ns(message)) // 2
        try:
            T = self._tree.lookup(self._map_frame, message.header.frame_id, middle_ns)
            self.scan, self._scan = floor_conversions.placed_scan(message, T, middle_ns), None
            self._refuse("")
        except (TransformError, ScanError) as error:
            self._refuse(str(error))

    def points(self) -> PlacedPoints | None:
        """The newest cloud, once, as soon as it can be placed; None: there is none, or it comes too soon."""
        message = self._cloud
        if message is None or 0 <= to_ns(message.header.stamp) - self._cloud_ns < _CLOUDS_NS:
            return None
        stamp_ns = to_ns(message.header.stamp)
        try:
            T = self._tree.lookup(self._map_frame, message.header.frame_id, stamp_ns)
            placed = floor_conversions.placed_points(message, T, stamp_ns)
        except (TransformError, ScanError) as error:
            self._refuse(str(error))
            return None
        self._cloud, self._cloud_ns = None, stamp_ns
        return placed

    def _on_scan(self, message: LaserScan) -> None:
        self._scan = message

    def _on_points(self, message: PointCloud2) -> None:
        self._cloud = message
