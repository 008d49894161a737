"""Navigation. In: map, scan (10 Hz), points (where the robot has a height), odom, TF map -> base, safety_state.
Actions: navigate_to_pose, compute_path_to_pose. Out: cmd_vel_nav (10 Hz while it drives, and until the base rests),
plan, local_costmap/costmap, global_costmap/costmap.

Lifecycle node; speaks as Nav2's servers do, codes and pre-emption included: a new goal replaces the running one, which
is aborted. A goal's end of any kind, a stop of the safety monitor, a missing pose, scan or velocity (a scan that met
nothing at all is none) and the node's own deactivation bring the base to rest; whoever sent the goal is told why.
"""

from __future__ import annotations

import sys
import time
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav2_msgs.action import ComputePathToPose, NavigateToPose
from nav_msgs.msg import OccupancyGrid as GridMsg
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMsg
from rclpy._rclpy_pybind11 import RCLError
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.publisher import Publisher
from rclpy.task import Future

from vla_control.core.robot import load_robot_config
from vla_core.errors import ConfigError, MapError, TransformError
from vla_core.frames import planar
from vla_core.types import NS, Float64
from vla_msgs.msg import SafetyState
from vla_navigation import action_conversions, floor_conversions
from vla_navigation.core.nav.backend import Result
from vla_navigation.core.nav.codes import Code, PlanError
from vla_navigation.core.nav.local_view import local_view
from vla_navigation.core.nav.navigator import Navigator, StampedPose
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.robot_footprint import robot_footprint, robot_height_m
from vla_navigation.core.nav.warm_up import warm_up
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_navigation.lidar_views import LidarViews
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.lifecycle import LifecycleNode
from vla_ros.node import run
from vla_ros.parameters import declare
from vla_ros.qos import publisher, subscription
from vla_ros.stamps import now_ns, to_msg, to_ns
from vla_ros.tf import TransformListener

_SCHEMA = Path(__file__).parent / "parameters" / "navigator_node.yaml"
_NOWHERE = StampedPose(0, np.full(3, np.nan))
_LAST = 3  # times that a base at rest is told so
#: Costmaps that are shown: half side [m], period [s].
_VIEWS = {"local_costmap/costmap": (3.0, 0.5), "global_costmap/costmap": (np.inf, 1.0)}
_PLANNERS = ("", "GridBased")  # Nav2's name of the planner that there is one of
_SUCCEED, _ABORT, _CANCELED = "succeed", "abort", "canceled"


class _RefusedError(Exception):
    """A goal that can't be begun: code and sentence for its result."""

    def __init__(self, number: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.number = number


class NavigatorNode(LifecycleNode):
    """Serves one drive at a time; all callbacks run on one thread."""

    def __init__(self) -> None:
        super().__init__("navigator_node")
        self._p = declare(self, _SCHEMA)
        self._nav: Navigator | None = None
        self._grid: OccupancyGrid | None = None
        self._at, self._twist, self._twist_ns = _NOWHERE, np.full(3, np.nan), -1
        self._running: tuple[ServerGoalHandle, Future] | None = None
        self._tick_ns, self._told_rest = -1, _LAST
        self._stopped_by: str | None = None
        self._trouble, self._shown = "", np.zeros((0, 3))  # what can't be used now; the path on the topic plan
        self._ended: dict[str, int] = {}
        self._commands = publisher(self, "cmd_vel_nav", TwistStamped)
        self._plans = publisher(self, "plan", PathMsg)
        self._frames = TransformListener(self)
        self._lidars = LidarViews(self, self._frames.tree, self._p.map_frame, self._refuse)
        subscription(self, "map", GridMsg, self._on_map)
        subscription(self, "odom", Odometry, self._on_odometry)
        subscription(self, "safety_state", SafetyState, self._on_safety)
        accept = {"goal_callback": self._on_goal, "cancel_callback": self._on_cancel}
        self._servers = (
            ActionServer(self, NavigateToPose, "navigate_to_pose", self._navigate, **accept),
            ActionServer(self, ComputePathToPose, "compute_path_to_pose", self._compute, goal_callback=self._on_goal),
        )
        self.create_timer(self._p.period_s, self._on_tick)
        for name, (half_m, period_s) in _VIEWS.items():
            self.create_timer(period_s, partial(self._show, publisher(self, name, GridMsg), half_m))
        Diagnostics(self, self._status, hardware_id=self._p.robot)

    # -- life cycle ---------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        base = load_robot_config(self._p.robot).base
        if base is None:
            raise ConfigError(f"robot '{self._p.robot}' without a base", "a section `base`", "choose another robot")
        self._base, self._footprint = base, robot_footprint(self._p.robot)
        self._height_m = robot_height_m(self._p.robot)
        if self._height_m > 0.0:
            self._lidars.hear_points()
        self._params = NavigatorParameters(**{f.name: getattr(self._p, f.name) for f in fields(NavigatorParameters)})
        warm_up(base, self._footprint, self._params)

    def deactivate(self) -> None:
        """Give up the goal and tell the base to stand."""
        self._settle(_ABORT, Code.CONTROL_UNKNOWN, "the navigator was deactivated")
        if self._nav is not None:
            self._nav.cancel()
        self._rest()

    def cleanup(self) -> None:
        self._nav = None

    def on_exit(self) -> None:
        """Let go of the action servers before the node goes."""
        super().on_exit()
        for server in self._servers:
            server.destroy()

    # -- in -----------------------------------------------------------------------------------------------------------

    def _on_map(self, message: GridMsg) -> None:
        try:
            if message.header.frame_id.lstrip("/") != self._p.map_frame:
                got = f"a map in frame '{message.header.frame_id}'"
                raise MapError(got, f"'{self._p.map_frame}'", "set map_frame of navigator_node")
            grid = floor_conversions.occupancy_grid(message)
            if self._nav is not None:
                self._nav.set_map(grid)
            self._grid = grid
        except (MapError, TransformError) as error:
            self._trouble = str(error)
            self.get_logger().error(f"map refused: {error}")

    def _refuse(self, trouble: str) -> None:
        self._trouble = trouble

    def _on_odometry(self, message: Odometry) -> None:
        self._twist, self._twist_ns = floor_conversions.odometry_twist(message), to_ns(message.header.stamp)

    def _on_safety(self, message: SafetyState) -> None:
        before, self._stopped_by = self._stopped_by, (message.cause or "no cause given") if message.stopped else None
        if message.stopped and before is None:
            if self._nav is not None:
                self._nav.cancel()
            self._settle(_ABORT, Code.CONTROL_UNKNOWN, self._stop_sentence())

    def _stop_sentence(self) -> str:
        return f"got a safety stop ({self._stopped_by}); expected none; fix: release it at the safety monitor"

    # -- actions ------------------------------------------------------------------------------------------------------

    def _on_goal(self, goal: Any) -> GoalResponse:
        """Refuse what this server can't do at all."""
        why = "" if self.active else "the navigator isn't active"
        if getattr(goal, "behavior_tree", ""):
            why = f"behavior tree '{goal.behavior_tree}': the embedded navigator has none; leave it empty, or use Nav2"
        if why:
            self.get_logger().warning(f"goal rejected: {why}")
        return GoalResponse.REJECT if why else GoalResponse.ACCEPT

    async def _navigate(self, handle: ServerGoalHandle) -> NavigateToPose.Result:
        """Drive; waits on a future, so the thread stays free for everything else."""
        if self._nav is not None:
            self._nav.cancel()
        self._settle(_ABORT, Code.NONE, "replaced by a new goal")
        try:
            if self._stopped_by is not None:
                raise _RefusedError(Code.CONTROL_UNKNOWN, self._stop_sentence())
            nav, goal = self._navigator(), self._in_map(handle.request.pose)
        except _RefusedError as error:
            return self._conclude(handle, NavigateToPose.Result(), _ABORT, error.number, str(error))
        done = Future()
        self._running = (handle, done)
        nav.go(goal)
        return self._conclude(handle, NavigateToPose.Result(), *(await done))

    def _compute(self, handle: ServerGoalHandle) -> ComputePathToPose.Result:
        """Plan without driving."""
        result, request, begin_s = ComputePathToPose.Result(), handle.request, time.monotonic()
        try:
            if request.planner_id not in _PLANNERS:
                got = f"got planner '{request.planner_id}'; expected '' or 'GridBased'; fix: name no planner"
                raise _RefusedError(Code.PLAN_INVALID_PLANNER, got)
            nav, goal = self._navigator(), self._in_map(request.goal)
            start = self._in_map(request.start) if request.use_start else self._pose().pose
            if not np.isfinite(start).all():
                raise _RefusedError(Code.PLAN_TF_ERROR, self._trouble)
            plan = nav.plan(start, goal)
        except (_RefusedError, PlanError) as error:
            return self._conclude(handle, result, _ABORT, error.number, str(error))
        result.path = floor_conversions.path_msg(plan.path, now_ns(self), self._p.map_frame)
        action_conversions.set_duration(result.planning_time, time.monotonic() - begin_s)
        return self._conclude(handle, result, _SUCCEED, Code.NONE, "")

    def _on_cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        """Accept; the goal ends in the next turn, when its state says that it is being cancelled."""
        if self._running is not None and self._running[0].goal_id == handle.goal_id:
            self.executor.create_task(lambda: self._cancel(handle))
        return CancelResponse.ACCEPT

    def _cancel(self, handle: ServerGoalHandle) -> None:
        if self._running is not None and self._running[0].goal_id == handle.goal_id:
            if self._nav is not None:
                self._nav.cancel()
            self._settle(_CANCELED, Code.NONE, "cancelled")

    def _settle(self, verb: str, code: Code, message: str) -> None:
        """Let `_navigate` return."""
        if self._running is not None:
            _, done = self._running
            self._running = None
            done.set_result((verb, code, message))

    def _conclude(self, handle: ServerGoalHandle, result: Any, verb: str, code: Code, message: str) -> Any:
        name = "reached" if verb == _SUCCEED else f"{verb}_{code.name}".lower()
        self._ended[name] = self._ended.get(name, 0) + 1
        if message:
            self.get_logger().info(f"goal ended, {verb} {int(code)}: {message}")
        getattr(handle, verb)()
        return action_conversions.concluded(result, code, message)

    # -- driving ------------------------------------------------------------------------------------------------------

    def _navigator(self) -> Navigator:
        """The navigator; made when the first map is there.

        Raises:
            _RefusedError: there is no map.
        """
        if self._nav is None:
            if self._grid is None:
                raise _RefusedError(Code.PLAN_UNKNOWN, "got no map; expected one on the topic map; fix: start SLAM")
            self._nav = Navigator(self._base, self._footprint, self._params, self._grid, self._height_m)
        return self._nav

    def _on_tick(self) -> None:
        if not self.active:
            return
        now = now_ns(self)
        if now < self._tick_ns - NS:
            self._settle(_ABORT, Code.CONTROL_UNKNOWN, "the clock was set back")
            self._nav = None
            self._lidars.forget()
        self._tick_ns = now
        if self._grid is None:
            return
        nav = self._navigator()
        self._at = self._pose()
        self._lidars.place()
        points = self._lidars.points()
        if points is not None:
            nav.observe_points(points)
        stale = now - self._twist_ns > self._params.stale_s * NS
        sent = nav.tick(now, self._at, np.full(3, np.nan) if stale else self._twist, self._lidars.scan)
        self._send(sent, now)
        self._after(nav, now)

    def _after(self, nav: Navigator, now: int) -> None:
        """Feedback, result and path."""
        state = nav.feedback()
        if self._running is not None:
            handle, _ = self._running
            if np.isfinite(self._at.pose).all():
                message = action_conversions.feedback(state, self._at.pose, self._at.stamp_ns, self._p.map_frame)
                handle.publish_feedback(message)
            if state.result is not None:
                self._settle(_verb(state.result), state.result.code, state.result.message)
        path = nav.path
        if path is not self._shown and len(path) + len(self._shown):
            self._plans.publish(floor_conversions.path_msg(path, now, self._p.map_frame))
            self._shown = path

    def _send(self, twist: Float64, now: int) -> None:
        """Speak while there is something to say, so that others may drive the base at other times."""
        if self._running is None and not twist.any():
            if self._told_rest >= _LAST:
                return
            self._told_rest += 1
        else:
            self._told_rest = 0
        message = TwistStamped()
        message.header.frame_id, message.header.stamp = self._p.base_frame, to_msg(now)
        linear, angular = message.twist.linear, message.twist.angular
        linear.x, linear.y, angular.z = twist.tolist()
        self._commands.publish(message)

    def _rest(self) -> None:
        """Tell the base to stand; not once the ROS context has gone: base_node stops by itself then."""
        if not self.context.ok():
            return
        try:
            self._told_rest = 0
            self._send(np.zeros(3), now_ns(self))
        except RCLError:
            if self.context.ok():  # else a signal ended it between the look and the message
                raise

    def _pose(self) -> StampedPose:
        """The newest pose of the base; not finite when nobody tells it."""
        frames, tree = (self._p.map_frame, self._p.base_frame), self._frames.tree
        try:
            newest = tree.newest_ns(*frames)
            stamp_ns = now_ns(self) if newest is None else newest
            return StampedPose(stamp_ns, planar(tree.lookup(*frames, stamp_ns)))
        except TransformError as error:
            self._trouble = str(error)
            return _NOWHERE

    def _in_map(self, pose: PoseStamped) -> Float64:
        """A pose (3,) of any frame, in the map now.

        Raises:
            _RefusedError: no frame, one that doesn't hang together with the map, or a broken pose.
        """
        frame, tree = pose.header.frame_id.lstrip("/"), self._frames.tree
        try:
            if frame == self._p.map_frame:
                return floor_conversions.flat(pose.pose)
            newest = tree.newest_ns(self._p.map_frame, frame)
            T = tree.lookup(self._p.map_frame, frame, now_ns(self) if newest is None else newest)
            return planar(T @ floor_conversions.matrix(pose.pose))
        except TransformError as error:
            raise _RefusedError(Code.PLAN_TF_ERROR, str(error)) from error

    # -- for people ---------------------------------------------------------------------------------------------------

    def _show(self, views: Publisher, half_m: float) -> None:
        idle = self._nav is None or not self.active or views.get_subscription_count() == 0
        if idle or not np.isfinite(self._at.pose).all():
            return
        assert self._nav is not None
        costmap, inscribed_m = self._nav.costmap, self._footprint.inscribed_m
        cells, origin = local_view(costmap, self._at.pose, half_m, inscribed_m, self._params.inflation_m)
        if cells.size:
            resolution_m = costmap.frame.resolution_m
            views.publish(floor_conversions.grid_msg(cells, resolution_m, origin, self._at.stamp_ns, self._p.map_frame))

    def _status(self) -> list[Status]:
        if not self.active:
            return [Status(Level.OK, "inactive")]
        values: dict[str, object] = {f"goals_{name}": count for name, count in sorted(self._ended.items())}
        if self._stopped_by is not None:
            return [Status(Level.WARN, f"stopped by the safety monitor: {self._stopped_by}", values)]
        if self._nav is None:
            return [Status(Level.WARN, self._trouble or "no map yet", values)]
        now, stale_ns, state = now_ns(self), self._params.stale_s * NS, self._nav.feedback()
        scan_ns = -1 if self._lidars.scan is None else self._lidars.scan.stamp_ns
        ages = {"pose": self._at.stamp_ns, "scan": scan_ns, "odometry": self._twist_ns}
        missing = [name for name, stamp_ns in ages.items() if now - stamp_ns > stale_ns]
        values |= {"state": state.state, "limited_by": state.limited_by, "left_m": state.distance_remaining_m}
        if missing:
            level = Level.WARN if self._running is None else Level.ERROR
            trouble = f": {self._trouble}" if self._trouble else ""
            return [
                Status(level, f"no {' and '.join(missing)} of the last {self._params.stale_s:g} s{trouble}", values)
            ]
        return [Status(Level.OK, state.state, values)]


def _verb(result: Result) -> str:
    return _SUCCEED if result.reached else _CANCELED if result.cancelled else _ABORT


def main() -> None:
    """Entry point."""
    sys.exit(run(NavigatorNode))


if __name__ == "__main__":
    main()
