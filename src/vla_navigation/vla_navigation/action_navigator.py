"""A `NavigatorBackend` over Nav2's actions: the same for our navigator_node and for Nav2 itself, Humble to Kilted.

It needs no thread and no place in its owner's executor: a small node of its own is served whenever it is asked
something, so `plan` may be called from a callback. Times are those of the monotonic clock. What a distribution doesn't
tell (Humble: codes and messages) is said in a sentence of ours.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import rclpy
from action_msgs.msg import GoalStatus
from nav2_msgs.action import ComputePathToPose, NavigateToPose
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from vla_core.errors import TransformError
from vla_core.types import NS, Float64
from vla_navigation import floor_conversions as conversions
from vla_navigation.action_conversions import has
from vla_navigation.core.nav.backend import Feedback, Result
from vla_navigation.core.nav.codes import Code, PlanError
from vla_navigation.core.nav.planner import Plan
from vla_ros import stamps

_CALLBACKS = 16  # that one question serves at most
_FIX = "start navigator_node or Nav2, and look at its log"


class ActionNavigator:
    """Plans and drives by action servers `navigate_to_pose` and `compute_path_to_pose` of its owner's namespace.

    Args:
        owner: Whose name, namespace and context the client has.
        server_timeout_s: A server that isn't there, or doesn't answer, for so long is none.
        plan_timeout_s: The same for an answer with a path.
        map_frame: Frame of all poses.
    """

    def __init__(
        self, owner: Node, server_timeout_s: float = 5.0, plan_timeout_s: float = 10.0, map_frame: str = "map"
    ) -> None:
        self._server_s, self._plan_s, self._frame, self._owner = server_timeout_s, plan_timeout_s, map_frame, owner
        self._node = rclpy.create_node(
            f"{owner.get_name()}_navigation", context=owner.context, namespace=owner.get_namespace(),
            use_global_arguments=False, start_parameter_services=False,
        )  # fmt: skip
        self._executor = SingleThreadedExecutor(context=owner.context)
        self._executor.add_node(self._node)
        self._drive = ActionClient(self._node, NavigateToPose, "navigate_to_pose")
        self._plan = ActionClient(self._node, ComputePathToPose, "compute_path_to_pose")
        self._generation = 0  # of goals: what comes late for an earlier one is passed over
        self._goal: Float64 | None = None  # not sent yet
        self._sending: Any = None
        self._handle: Any = None
        self._ending: Any = None
        self._cancelling = False
        self._since_s = math.inf  # since when the server is being waited for
        self._told: NavigateToPose.Feedback | None = None
        self._result: Result | None = None

    def close(self) -> None:
        """Cancel what is under way and let go of the clients."""
        if self._owner.context.ok():
            self.cancel()
        self._drive.destroy()
        self._plan.destroy()
        self._executor.shutdown()
        self._node.destroy_node()

    def plan(self, start: Float64, goal: Float64) -> Plan:
        """A plan, without driving; blocks until it is there. Its field is empty: Nav2 doesn't tell one.

        Raises:
            PlanError: there is none (codes 200..208), or no server.
        """
        request = ComputePathToPose.Goal(use_start=True)
        request.start, request.goal = (self._stamped(pose) for pose in (start, goal))
        deadline_s = time.monotonic() + self._server_s
        while not self._plan.server_is_ready():
            if time.monotonic() > deadline_s:
                got = f"no action server compute_path_to_pose for {self._server_s:g} s"
                raise PlanError(Code.PLAN_UNKNOWN, got, "one", _FIX)
            self._executor.spin_once(timeout_sec=0.05)
        handle = self._wait(self._plan.send_goal_async(request))
        if not handle.accepted:
            raise PlanError(Code.PLAN_UNKNOWN, "a rejected goal of compute_path_to_pose", "an accepted one", _FIX)
        ended = self._wait(handle.get_result_async())
        if ended.status != GoalStatus.STATUS_SUCCEEDED:
            code, message = told(ended.result, Code.PLAN_UNKNOWN)
            raise PlanError(code, message or "no path, and no reason", "a path", "look at the planner's log")
        try:
            path = np.array([conversions.flat(pose.pose) for pose in ended.result.path.poses]).reshape(-1, 3)
        except TransformError as error:
            raise PlanError(Code.PLAN_UNKNOWN, error.got, error.expected, error.fix) from error
        if not len(path):
            raise PlanError(Code.PLAN_NO_VALID_PATH, "an empty path", "poses", "look at the planner's log")
        length_m = float(np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1).sum())
        return Plan(np.array(goal, np.float64), path, np.zeros((0, 0), np.float32), length_m)

    def go(self, goal: Float64) -> None:
        """Drive to a goal; it replaces the one before. How it ends stands in `feedback().result`."""
        self._generation += 1
        self._goal, self._result, self._told = np.array(goal, np.float64), None, None
        self._sending = self._handle = self._ending = None
        self._cancelling, self._since_s = False, time.monotonic()
        self._serve()

    def cancel(self) -> None:
        """Come to rest and forget the goal; the server's answer stands in `feedback().result`."""
        if self._goal is not None:
            self._end(Result(Code.NONE, "cancelled", cancelled=True))
        elif self._underway and not self._cancelling:
            self._cancelling, self._since_s = True, time.monotonic()
            if self._handle is not None:
                self._handle.cancel_goal_async()

    def feedback(self) -> Feedback:
        """Where things stand; serves the client."""
        self._serve()
        if self._result is not None or not self._underway:
            return Feedback("idle", 0.0, 0.0, math.inf, 0, "", self._result)
        if self._told is None:
            return Feedback("following", math.inf, 0.0, math.inf, 0, "", None)
        left_s = stamps.to_ns(self._told.estimated_time_remaining) / NS
        return Feedback(
            "following", float(self._told.distance_remaining), stamps.to_ns(self._told.navigation_time) / NS,
            left_s or math.inf, int(self._told.number_of_recoveries), "", None,
        )  # fmt: skip

    @property
    def _underway(self) -> bool:
        return self._goal is not None or self._sending is not None or self._handle is not None

    def _serve(self) -> None:
        """Send what waits, hear what has come, and give up on a server that has gone."""
        if not self._underway or not self._owner.context.ok():
            return
        for _ in range(_CALLBACKS):
            self._executor.spin_once(timeout_sec=0.0)
        ready, now_s = self._drive.server_is_ready(), time.monotonic()
        if self._goal is not None and ready:
            self._send()
        if self._sending is not None and self._sending.done():
            self._accepted(self._sending.result())
        if self._ending is not None and self._ending.done():
            ended = self._ending.result()
            self._end(outcome(ended.status, ended.result))
        elif self._ending is not None and ready and not self._cancelling:
            self._since_s = now_s
        if self._underway and now_s - self._since_s > self._server_s:
            did = "didn't answer" if ready else "isn't there"
            got = f"an action server navigate_to_pose that {did} for {self._server_s:g} s"
            self._end(Result(Code.CONTROL_UNKNOWN, f"got {got}; expected one that does; fix: {_FIX}"))

    def _send(self) -> None:
        assert self._goal is not None
        goal, generation = NavigateToPose.Goal(pose=self._stamped(self._goal)), self._generation

        def hear(message: Any) -> None:
            if generation == self._generation:
                self._told = message.feedback

        self._goal, self._since_s = None, time.monotonic()
        self._sending = self._drive.send_goal_async(goal, feedback_callback=hear)

    def _accepted(self, handle: Any) -> None:
        self._sending = None
        if not handle.accepted:
            got = "a goal that navigate_to_pose rejected"
            self._end(Result(Code.CONTROL_UNKNOWN, f"got {got}; expected an accepted one; fix: {_FIX}"))
            return
        self._handle, self._ending = handle, handle.get_result_async()
        if self._cancelling:
            handle.cancel_goal_async()

    def _end(self, result: Result) -> None:
        self._result = result
        self._goal = self._sending = self._handle = self._ending = None

    def _wait(self, future: Any) -> Any:
        self._executor.spin_until_future_complete(future, self._plan_s)
        if not future.done():
            got = f"no answer of compute_path_to_pose for {self._plan_s:g} s"
            raise PlanError(Code.PLAN_TIMEOUT, got, "a path, or a reason", _FIX)
        return future.result()

    def _stamped(self, pose: Float64) -> Any:
        return conversions.stamped_pose(pose, stamps.now_ns(self._owner), self._frame)


def told(result: Any, otherwise: Code) -> tuple[Code, str]:
    """Code and message of an action's result; `otherwise` for Humble's, which has none, and for unknown codes."""
    number = int(result.error_code) if has(result, "error_code") else 0
    message = str(result.error_msg) if has(result, "error_msg") else ""
    if number == 0:
        return otherwise, message
    try:
        return Code(number), message
    except ValueError:
        return otherwise, f"code {number}{': ' if message else ''}{message}"


def outcome(status: int, result: Any) -> Result:
    """How a drive ended, of an action's status and result."""
    if status == GoalStatus.STATUS_SUCCEEDED:
        return Result(Code.NONE)
    if status == GoalStatus.STATUS_CANCELED:
        return Result(Code.NONE, "cancelled", cancelled=True)
    code, message = told(result, Code.CONTROL_UNKNOWN)
    if not message:
        message = (
            f"got an aborted drive ({code.name}) without a reason; expected to arrive; fix: look at the server's log"
        )
    return Result(code, message)
