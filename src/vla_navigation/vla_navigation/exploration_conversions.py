"""The explorer's core types as messages: results, feedback, and pictures for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point
from nav_msgs.msg import OccupancyGrid as GridMsg
from std_msgs.msg import ColorRGBA
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from vla_core.types import Float64
from vla_msgs.action import Explore
from vla_navigation import floor_conversions
from vla_navigation.core.explore.frontiers import Frontier
from vla_navigation.core.explore.hints import Piece
from vla_navigation.core.explore.search import Outcome, Search
from vla_navigation.core.explore.seen_layer import SeenLayer
from vla_navigation.core.explore.view_poses import ViewPose
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_ros import stamps

_RED, _BLUE = ColorRGBA(r=0.9, g=0.1, b=0.1, a=1.0), ColorRGBA(r=0.1, g=0.3, b=0.9, a=1.0)


def camera_pose(T_map_camera: Float64) -> Float64:
    """x, y of a camera and the direction (3,) in which its optical frame (z ahead) looks, seen from above."""
    ahead = T_map_camera[:3, 2]
    return np.array([T_map_camera[0, 3], T_map_camera[1, 3], np.arctan2(ahead[1], ahead[0])])


def seen_m2(layer: SeenLayer) -> float:
    """Floor that a camera has seen [m^2]."""
    return float((layer.seen & layer.free).sum()) * layer.frame.resolution_m**2


def explored(outcome: Outcome, layer: SeenLayer) -> Explore.Result:
    """How a search ended."""
    return Explore.Result(
        success=outcome.success, error_code=outcome.error_code, message=outcome.message, seen_m2=seen_m2(layer)
    )


def pieces(message: Detection3DArray) -> list[Piece]:
    """What a map of objects knows, as furniture that hints at other things."""
    out = []
    for one in message.detections:
        centre, size = one.bbox.center.position, one.bbox.size
        likely = {str(row.hypothesis.class_id): float(row.hypothesis.score) for row in one.results}
        out.append(Piece(centre.x, centre.y, 0.5 * max(size.x, size.y), likely))
    return out


def searching(search: Search, layer: SeenLayer, stamp_ns: int, frame: str) -> Explore.Feedback:
    """Where a search stands; a goal without frame: none now."""
    message = Explore.Feedback(seen_m2=seen_m2(layer), frontiers=len(search.frontiers))
    if search.view is not None:
        message.goal = floor_conversions.stamped_pose(search.view.pose, stamp_ns, frame)
    return message


def seen_msg(layer: SeenLayer, stamp_ns: int, frame: str) -> GridMsg:
    """What the camera has seen: 0, what only the lidar knows: 50, what nobody knows: -1."""
    cells = np.full(layer.frame.shape, -1, np.int8)
    cells[layer.free | layer.occupied] = 50
    cells[layer.seen] = 0
    origin = np.array([layer.frame.x_m, layer.frame.y_m, 0.0])
    return floor_conversions.grid_msg(cells, layer.frame.resolution_m, origin, stamp_ns, frame)


def markers(
    frontiers: Sequence[Frontier], view: ViewPose | None, grid: GridFrame, stamp_ns: int, frame: str
) -> MarkerArray:
    """Frontiers in red, and an arrow at the view that the robot drives to."""
    points = [point for one in frontiers for point in grid.points(one.cells).tolist()]
    border = Marker(ns="frontiers", id=0, type=Marker.POINTS, action=Marker.ADD, color=_RED)
    border.scale.x = border.scale.y = grid.resolution_m
    border.pose.orientation.w = 1.0
    border.points = [Point(x=x, y=y, z=0.05) for x, y in points]
    arrow = Marker(ns="view", id=0, type=Marker.ARROW, action=Marker.ADD if view else Marker.DELETE, color=_BLUE)
    arrow.scale.x, arrow.scale.y, arrow.scale.z = 0.5, 0.06, 0.06
    if view is not None:
        arrow.pose = floor_conversions.pose_msg(view.pose)
    for marker in (border, arrow):
        marker.header.frame_id, marker.header.stamp = frame, stamps.to_msg(stamp_ns)
    return MarkerArray(markers=[border, arrow])
