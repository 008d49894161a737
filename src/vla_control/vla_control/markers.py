"""What the executor is about to do, for rviz (`executor_node/markers`), in the robot's base frame.

- predicted, blue dots: the steps of the newest chunk, as the policy gave them
- clamped, red dots: those of them that were out of reach, beyond limits or in collision, and were replaced
- blended, cyan line: the plan made of them, with its blend at the beginning and the brake at its end
- committed, orange line: the motion that no later chunk can change any more
- executed, green line: where the tool has been over the last 10 s
"""

from __future__ import annotations

from collections import deque

import numpy as np
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from vla_core.types import Float64
from vla_ros import stamps

Rgba = tuple[float, float, float, float]

_BLUE, _ORANGE, _GREEN = (0.1, 0.4, 1.0, 0.9), (1.0, 0.55, 0.0, 1.0), (0.1, 0.75, 0.2, 0.9)
_RED, _CYAN = (1.0, 0.1, 0.1, 1.0), (0.0, 0.8, 0.9, 0.9)
_DOT_M, _LINE_M = 0.008, 0.004


class Markers:
    """Collects the paths.

    Args:
        base_frame: Frame of all points.
        history: Points of the executed path that are kept.
    """

    def __init__(self, base_frame: str, history: int = 200) -> None:
        self._base_frame = base_frame
        self._executed: deque[tuple[float, float, float]] = deque(maxlen=history)
        self._epoch_ns = -1

    def executed(self, position: Float64, epoch_ns: int) -> None:
        """The tool was at `position` [m] (3,); another epoch begins another path."""
        if epoch_ns != self._epoch_ns:
            self._executed.clear()
            self._epoch_ns = epoch_ns
        x, y, z = (float(v) for v in position)
        self._executed.append((x, y, z))

    def message(
        self, stamp_ns: int, predicted: Float64, clamped: Float64, blended: Float64, committed: Float64
    ) -> MarkerArray:
        """The picture at `stamp_ns`.

        Args:
            stamp_ns: Present time.
            predicted, clamped: Tool positions of the newest chunk, and of those that were replaced [m] (N,3).
            blended, committed: Tool positions of the plan, and of its committed part [m] (N,3).
        """
        paths = (
            ("predicted", Marker.SPHERE_LIST, predicted, _BLUE, _DOT_M),
            ("clamped", Marker.SPHERE_LIST, clamped, _RED, 1.5 * _DOT_M),
            ("blended", Marker.LINE_STRIP, blended, _CYAN, _LINE_M),
            ("committed", Marker.LINE_STRIP, committed, _ORANGE, 2 * _LINE_M),
            ("executed", Marker.LINE_STRIP, np.array(self._executed).reshape(-1, 3), _GREEN, _LINE_M),
        )
        return MarkerArray(markers=[self._marker(stamp_ns, *path) for path in paths])

    def _marker(self, stamp_ns: int, name: str, kind: int, points: Float64, rgba: Rgba, size_m: float) -> Marker:
        red, green, blue, alpha = rgba
        marker = Marker(ns=name, type=kind, action=Marker.ADD, color=ColorRGBA(r=red, g=green, b=blue, a=alpha))
        if len(points) < (2 if kind == Marker.LINE_STRIP else 1):
            marker.action = Marker.DELETE  # rviz complains about an empty line
        marker.header.frame_id, marker.header.stamp = self._base_frame, stamps.to_msg(stamp_ns)
        marker.scale.x = marker.scale.y = marker.scale.z = size_m
        marker.pose.orientation.w = 1.0
        marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points]
        return marker
