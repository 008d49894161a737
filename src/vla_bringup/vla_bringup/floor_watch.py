"""Watches a mobile robot from outside: its map, its objects and, by TF, its way."""

from __future__ import annotations

from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from vision_msgs.msg import Detection3DArray

from vla_bringup.console.conversions import things
from vla_bringup.core.floor_picture import FloorRecord
from vla_core.errors import MapError, TransformError
from vla_core.frames import planar
from vla_navigation.floor_conversions import occupancy_grid
from vla_ros.qos import subscription
from vla_ros.tf import TransformListener


class FloorWatch:
    """Keeps a FloorRecord up to date while the node spins.

    Args:
        node: Its subscriptions are made on this node.
        base_frame: Of the robot.
        map_frame: Of its maps.

    """

    def __init__(self, node: Node, base_frame: str, map_frame: str = "map") -> None:
        self._record = FloorRecord()
        self._objects: bytes | None = None  # the newest, read when somebody looks
        self._frames = (map_frame, base_frame)
        self._tf = TransformListener(node)
        subscription(node, "map", OccupancyGrid, self._on_map)
        subscription(node, "objects", Detection3DArray, self._on_objects, raw=True)

    @property
    def record(self) -> FloorRecord:
        """What has been seen; a new place on the way with every map and every view of objects."""
        if self._objects is not None:
            self._record.things = things(deserialize_message(self._objects, Detection3DArray))
        return self._record

    def _on_map(self, message: OccupancyGrid) -> None:
        try:
            self._record.grid = occupancy_grid(message)
        except MapError:
            return  # who makes the map is told by those that drive by it
        self._step()

    def _on_objects(self, data: bytes) -> None:
        self._objects = data
        self._step()

    def _step(self) -> None:
        try:
            newest_ns = self._tf.tree.newest_ns(*self._frames)
            if newest_ns is not None:
                self._record.way.append(planar(self._tf.tree.lookup(*self._frames, newest_ns)))
        except TransformError:
            return  # not yet, or not any more, one tree
