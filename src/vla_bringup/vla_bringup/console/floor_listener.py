"""Hears what a mobile robot knows of the place, and brings the console's FloorView up to date with it."""

from __future__ import annotations

from nav_msgs.msg import OccupancyGrid as GridMsg
from nav_msgs.msg import Path
from rclpy.node import Node
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from vla_bringup.console import conversions
from vla_bringup.console.floor_view import FloorView
from vla_core.errors import MapError, TransformError
from vla_core.frames import planar
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_navigation.floor_conversions import occupancy_grid
from vla_ros.qos import subscription
from vla_ros.tf import TransformListener

_MAP = "map"
Message = GridMsg | MarkerArray | Path | Detection3DArray


class FloorListener:
    """Keeps the newest of everything until it is shown.

    Args:
        node: Its subscriptions are made on this node.
        base_frame: Of the robot.
    """

    def __init__(self, node: Node, base_frame: str) -> None:
        self._frames = (_MAP, base_frame)
        self._tf = TransformListener(node)
        self._fresh: dict[str, Message] = {}
        self._grids: dict[str, OccupancyGrid] = {}
        for name, kind in (
            ("map", GridMsg), ("explorer_node/seen", GridMsg), ("explorer_node/markers", MarkerArray), ("plan", Path),
            ("objects", Detection3DArray),
        ):  # fmt: skip
            subscription(node, name, kind, lambda message, name=name: self._fresh.__setitem__(name, message))

    def show(self, view: FloorView) -> str:
        """Show what is new; returns what is wrong with it, in one sentence, or ''."""
        trouble = ""
        fresh, self._fresh = self._fresh, {}
        for name, message in fresh.items():
            try:
                if isinstance(message, GridMsg):
                    self._grids[name] = occupancy_grid(message)
                elif isinstance(message, MarkerArray):
                    view.show_frontiers(conversions.paths(message).get("frontiers", conversions.NOWHERE))
                elif isinstance(message, Path):
                    view.show_plan(conversions.way(message))
                else:
                    view.show_things(conversions.things(message))
            except (MapError, TransformError) as error:
                trouble = f"{name}: {error}"
        if _MAP in self._grids and fresh.keys() & {"map", "explorer_node/seen"}:
            view.show_map(self._grids[_MAP], self._grids.get("explorer_node/seen"))
        try:
            newest_ns = self._tf.tree.newest_ns(*self._frames)
            if newest_ns is not None:
                view.show_robot(planar(self._tf.tree.lookup(*self._frames, newest_ns)))
        except TransformError as error:
            trouble = str(error)
        return trouble
