"""ROS behind the ports of `core/skills/ports.py`: action clients, the maps, the wheels, the fingers."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import OccupancyGrid as GridMsg
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from vision_msgs.msg import Detection3DArray

from vla_control.core.base.config import BaseConfig
from vla_core.errors import MapError, TransformError
from vla_core.frames import planar
from vla_core.types import NS, Float64
from vla_msgs.msg import ControlState
from vla_navigation import fetch_conversions, floor_conversions
from vla_navigation.core.nav.costmap import distances
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.planner import nearest_free
from vla_navigation.core.nav.safety import SafetyLayer
from vla_navigation.core.nav.travel import travel_field
from vla_navigation.core.occupancy_grid import OCCUPIED_FROM, OccupancyGrid
from vla_navigation.core.skills.ports import Ground, Thing
from vla_navigation.lidar_views import LidarViews
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import now_ns, to_msg
from vla_ros.tf import TransformListener

_LETHAL = 100  # of a costmap, as Nav2 publishes it
_LEAVE_M = 0.4  # a robot that stands nearer to something than its clearance may leave
_STANDS_M_S, _STANDS_RAD_S = 0.01, 0.03
_NOBODY = np.zeros((0, 5))  # moving things: at this pace they count as what stands where the scan shows it


class ActionErrand:
    """An action whose goal is a sentence and whose result has success, error_code and message.

    Args:
        node: Its owner; everything happens in its callbacks.
        action: ExecuteInstruction or Explore.
        name: Of the action.
        field: Of the goal that takes the sentence.
        server_timeout_s: A server that isn't there for so long is none [s, monotonic clock].
    """

    def __init__(self, node: Node, action: Any, name: str, field: str, server_timeout_s: float) -> None:
        self._client = ActionClient(node, action, name)
        self._action, self._name, self._field, self._server_s = action, name, field, server_timeout_s
        self._number = 0  # of the errand: what comes late for an earlier one is passed over
        self._waiting: str | None = None  # a sentence that wasn't sent yet
        self._since_s = 0.0
        self._handle: Any = None
        self._end: tuple[str, str] | None = None

    def begin(self, text: str) -> None:
        """Start; replaces what ran."""
        self.cancel()
        self._number += 1
        self._waiting, self._since_s, self._end = text, time.monotonic(), None
        self._send()

    def ended(self) -> tuple[str, str] | None:
        """None while it goes on; then its error code ('' is success) and one sentence."""
        self._send()
        if self._waiting is not None and time.monotonic() - self._since_s > self._server_s:
            self._waiting = None
            got = f"got no action server '{self._name}' for {self._server_s:g} s"
            self._end = ("no_server", f"{got}; expected one; fix: start its node")
        return self._end

    def cancel(self) -> None:
        """End it; nothing happens when none runs."""
        self._number += 1
        self._waiting = None
        if self._handle is not None:
            self._handle.cancel_goal_async()
            self._handle = None

    def close(self) -> None:
        """Let go of the client."""
        self._client.destroy()

    def _send(self) -> None:
        if self._waiting is None or not self._client.server_is_ready():
            return
        goal = self._action.Goal(**{self._field: self._waiting})
        self._waiting = None
        self._client.send_goal_async(goal).add_done_callback(partial(self._accepted, self._number))

    def _accepted(self, number: int, future: Future) -> None:
        handle = future.result()
        if number != self._number:
            if handle.accepted:
                handle.cancel_goal_async()
            return
        if not handle.accepted:
            self._end = ("rejected", f"got a goal that '{self._name}' rejected; expected it accepted; fix: see its log")
            return
        self._handle = handle
        handle.get_result_async().add_done_callback(partial(self._concluded, number))

    def _concluded(self, number: int, future: Future) -> None:
        if number == self._number:
            self._handle, result = None, future.result().result
            self._end = ("" if result.success else result.error_code or "failed", result.message)


class MapSurroundings:
    """Pose by TF, floor by `map`, what lidars see beside it by `global_costmap/costmap`, objects by `objects`.

    A planar lidar's map knows no table tops: where the robot can stand is told by who drives it.

    Args:
        node: Its owner.
        map_frame, base_frame: REP-105.
        clearance_m: From the base's centre to obstacles, on any way.
        pose_stale_s: An older pose is none [s, ROS clock].
    """

    def __init__(self, node: Node, map_frame: str, base_frame: str, clearance_m: float, pose_stale_s: float) -> None:
        self._node, self._frames, self._clearance_m = node, (map_frame, base_frame), clearance_m
        self.map_frame = map_frame
        self._stale_ns = round(pose_stale_s * NS)
        self.tf = TransformListener(node)
        self._objects: bytes | None = None  # news that nobody has asked for: a search hears them and needs none
        self._things: dict[int, Thing] = {}
        self._map: OccupancyGrid | None = None
        self._beside = np.zeros((0, 2))  # middles of lethal cells of the costmap
        self._ground: tuple[OccupancyGrid, Float64, tuple[int, int], Ground] | None = None  # and what it was made of
        self.refused = ""  # why the last map or pose couldn't be used
        subscription(node, "map", GridMsg, self._on_map)
        subscription(node, "global_costmap/costmap", GridMsg, self._on_costmap)
        subscription(node, "objects", Detection3DArray, self._on_objects, raw=True)

    def pose(self) -> Float64 | None:
        """float64 (3,) x, y, yaw of the base in the map; None: it isn't known."""
        try:
            newest_ns = self.tf.tree.newest_ns(*self._frames)
            if newest_ns is None or now_ns(self._node) - newest_ns > self._stale_ns:
                self.refused = "the pose is stale"
                return None
            return planar(self.tf.tree.lookup(*self._frames, newest_ns))
        except TransformError as error:
            self.refused = str(error)
            return None

    def thing(self, number: int) -> Thing | None:
        """An object of the map by its id; None: it has gone, or became part of another."""
        return self._known().get(number)

    def things(self) -> Collection[Thing]:
        """Every object of the map."""
        return self._known().values()

    def ground(self) -> Ground | None:
        """None while there is no map, or no pose in it."""
        pose, grid = self.pose(), self._map
        if pose is None or grid is None:
            return None
        frame = GridFrame.of(grid)
        cell = frame.cell(pose[0], pose[1])
        if self._ground is not None:
            of_grid, of_beside, of_cell, known = self._ground
            if of_grid is grid and of_beside is self._beside and of_cell == cell:
                return known
        solid, unknown = grid.cells >= OCCUPIED_FROM, grid.cells < 0
        lethal, beside = solid.copy(), frame.cells(self._beside)
        lethal[tuple(beside[frame.holds(beside)].T)] = True
        distance_m = distances(lethal, frame.resolution_m)
        cost = np.where((distance_m < self._clearance_m) | unknown, np.inf, 1.0).astype(np.float32)
        inside = frame.holds(np.array([cell]))[0]
        start = nearest_free(cost, np.array(cell), _LEAVE_M / frame.resolution_m) if inside else None
        if start is None:
            self.refused = "the robot stands outside the map, or in an obstacle of it"
            return None
        ground = Ground(frame, solid | unknown, distance_m, travel_field(cost, *start, frame.resolution_m))
        self._ground = (grid, self._beside, cell, ground)
        return ground

    def _on_map(self, message: GridMsg) -> None:
        try:
            grid = floor_conversions.occupancy_grid(message)
            GridFrame.of(grid)
            self._map = grid
        except MapError as error:
            self.refused = str(error)

    def _on_costmap(self, message: GridMsg) -> None:
        try:
            if message.header.frame_id.lstrip("/") == self._frames[0]:
                grid = floor_conversions.occupancy_grid(message)
                self._beside = GridFrame.of(grid).points(np.argwhere(grid.cells >= _LETHAL))
        except MapError as error:
            self.refused = str(error)

    def _on_objects(self, data: bytes) -> None:
        self._objects = data

    def _known(self) -> dict[int, Thing]:
        if self._objects is not None:
            detections = deserialize_message(self._objects, Detection3DArray).detections
            self._things = {thing.id: thing for thing in map(fetch_conversions.thing, detections)}
            self._objects = None
        return self._things


class BaseWheels:
    """Twists by `cmd_vel_nav`, through the navigator's safety layer; motion by `odom`.

    Args:
        node: Its owner.
        base: Limits.
        footprint: Of the robot.
        around: Tells the pose in the map.
        margin_m: Kept from what the lidar sees; less than the places have that are driven to.
    """

    def __init__(
        self, node: Node, base: BaseConfig, footprint: Footprint, around: MapSurroundings, margin_m: float
    ) -> None:
        params = replace(NavigatorParameters.from_config(), safety_margin_m=margin_m)
        self._node, self._frame, self._around = node, base.frame, around
        self._safety, self._stale_ns = SafetyLayer(base, footprint, params), round(params.stale_s * NS)
        self._lidars = LidarViews(node, around.tf.tree, around.map_frame, lambda trouble: None)
        self._sent, self._sent_ns = np.zeros(3), -1
        self._safety.filter(self._sent, self._sent, self._sent, np.full((1, 2), 9.0), _NOBODY)  # compiles
        self._out = publisher(node, "cmd_vel_nav", TwistStamped)
        self._moves = False
        subscription(node, "odom", Odometry, self._on_odometry)

    def drive(self, v_m_s: float, w_rad_s: float) -> None:
        """Twist until the next one, or as much of it as is safe; a base that hears nothing stops by itself."""
        now = now_ns(self._node)
        before = self._sent if 0 <= now - self._sent_ns < self._stale_ns else np.zeros(3)
        self._sent, self._sent_ns = self._allowed(np.array([v_m_s, 0.0, w_rad_s]), before, now), now
        message = TwistStamped()
        message.header.stamp, message.header.frame_id = to_msg(now), self._frame
        message.twist.linear.x, _, message.twist.angular.z = self._sent.tolist()
        self._out.publish(message)

    def _allowed(self, wanted: Float64, before: Float64, now: int) -> Float64:
        """The part (3,) of a twist that keeps off what the newest scan shows; none without a scan or a pose."""
        if not wanted.any():
            return wanted
        self._lidars.place()
        scan, pose = self._lidars.scan, self._around.pose()
        if scan is None or now - scan.stamp_ns > self._stale_ns or not scan.tells_enough() or pose is None:
            return np.zeros(3)
        return self._safety.filter(wanted, before, pose, scan.hits(), _NOBODY).twist

    def moves(self) -> bool:
        """Whether the base is in motion by its odometry."""
        return self._moves

    def _on_odometry(self, message: Odometry) -> None:
        twist = message.twist.twist
        speed = math.hypot(twist.linear.x, twist.linear.y)
        self._moves = speed > _STANDS_M_S or abs(twist.angular.z) > _STANDS_RAD_S


class Fingers:
    """Width of the first gripper by `control_state`."""

    def __init__(self, node: Node) -> None:
        self._width_m = math.nan
        subscription(node, "control_state", ControlState, self._on_state)

    def width_m(self) -> float:
        """Distance of its pads; nan while it isn't known."""
        return self._width_m

    def _on_state(self, message: ControlState) -> None:
        self._width_m = float(message.gripper_width[0]) if message.gripper_width else math.nan
