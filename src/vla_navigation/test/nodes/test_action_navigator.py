"""ActionNavigator against servers that behave as Nav2's, of Jazzy's shape on the wire and of Humble's as messages."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from nav2_msgs.action import ComputePathToPose, NavigateToPose
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node
from rclpy.task import Future

from vla_navigation import floor_conversions as conversions
from vla_navigation.action_navigator import ActionNavigator, outcome, told
from vla_navigation.core.nav.backend import NavigatorBackend
from vla_navigation.core.nav.codes import Code, PlanError

PARAMETERS = {"use_sim_time": "false"}
GOAL = np.array([1.0, 2.0, 0.5])


class FakeNav2:
    """Both servers; what they answer is set by the test."""

    def __init__(self, spinner, speaks_codes: bool = True) -> None:
        self.node = spinner.add(Node("fake_nav2"))
        self.speaks_codes = speaks_codes  # Humble's servers say nothing but the status
        self.accepts, self.code, self.message = True, 0, ""
        self.goals: list[np.ndarray] = []
        self.running: tuple[Any, Future] | None = None
        self.path = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.5, 1.0, 1.5]])
        self._servers = [
            ActionServer(
                self.node, NavigateToPose, "navigate_to_pose", self._drive, goal_callback=self._on_goal,
                cancel_callback=self._on_cancel,
            ),
            ActionServer(self.node, ComputePathToPose, "compute_path_to_pose", self._plan),
        ]  # fmt: skip

    def _on_goal(self, goal: NavigateToPose.Goal) -> GoalResponse:
        assert goal.pose.header.frame_id == "map" and goal.behavior_tree == ""
        return GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT

    async def _drive(self, handle) -> NavigateToPose.Result:
        if self.running is not None:
            self.finish("abort")
        done = Future()
        self.running = (handle, done)
        self.goals.append(conversions.flat(handle.request.pose.pose))
        await done
        return self._filled(NavigateToPose.Result())

    def _on_cancel(self, handle) -> CancelResponse:
        self.node.executor.create_task(lambda: self.finish("canceled"))
        return CancelResponse.ACCEPT

    def finish(self, verb: str, code: int = 0, message: str = "") -> None:
        """End the running drive."""
        assert self.running is not None
        (handle, done), self.running = self.running, None
        self.code, self.message = code, message
        getattr(handle, verb)()
        done.set_result(None)

    def tell(self, left_m: float) -> None:
        """Feedback as Nav2 gives it at the beginning: no time left is known."""
        assert self.running is not None
        message = NavigateToPose.Feedback(distance_remaining=left_m, number_of_recoveries=2)
        message.navigation_time.sec = 3
        self.running[0].publish_feedback(message)

    def _plan(self, handle) -> ComputePathToPose.Result:
        assert handle.request.use_start
        result = self._filled(ComputePathToPose.Result())
        if self.code:
            handle.abort()
        else:
            result.path = conversions.path_msg(self.path, 0, "map")
            handle.succeed()
        return result

    def _filled(self, result: Any) -> Any:
        if self.speaks_codes:
            result.error_code, result.error_msg = self.code, self.message
        return result

    def close(self) -> None:
        for server in self._servers:
            server.destroy()


@pytest.fixture(params=[True, False], ids=["jazzy", "without codes, as humble"])
def nav2(spinner, request):
    made = FakeNav2(spinner, request.param)
    yield made
    made.close()


@pytest.fixture
def backend(spinner):
    made = ActionNavigator(spinner.add(Node("user")), server_timeout_s=20.0)
    yield made
    made.close()


def test_it_is_a_backend(backend: ActionNavigator) -> None:
    typed: NavigatorBackend = backend
    assert typed.feedback().state == "idle" and typed.feedback().result is None


def test_a_drive_from_first_to_last(spinner, nav2: FakeNav2, backend: ActionNavigator) -> None:
    backend.go(GOAL)
    spinner.until(lambda: backend.feedback() and nav2.running, "the goal")
    assert np.allclose(nav2.goals[-1], GOAL)
    nav2.tell(2.5)
    spinner.until(lambda: backend.feedback().distance_remaining_m == 2.5, "feedback")
    now = backend.feedback()
    assert (now.state, now.navigation_time_s, now.recoveries, now.result) == ("following", 3.0, 2, None)
    assert now.time_remaining_s == np.inf
    nav2.finish("succeed")
    spinner.until(lambda: backend.feedback().result is not None, "a result")
    result = backend.feedback().result
    assert result is not None and result.reached and backend.feedback().state == "idle"


def test_an_aborted_drive_says_why_as_far_as_it_is_known(spinner, nav2: FakeNav2, backend: ActionNavigator) -> None:
    backend.go(GOAL)
    spinner.until(lambda: backend.feedback() and nav2.running, "the goal")
    nav2.finish("abort", 105, "no progress")
    spinner.until(lambda: backend.feedback().result is not None, "a result")
    result = backend.feedback().result
    assert result is not None and not result.reached and not result.cancelled
    if nav2.speaks_codes:
        assert (result.code, result.message) == (Code.CONTROL_FAILED_TO_MAKE_PROGRESS, "no progress")
    else:
        assert result.code is Code.CONTROL_UNKNOWN and "fix: look at the server's log" in result.message


def test_a_new_goal_replaces_the_one_before(spinner, nav2: FakeNav2, backend: ActionNavigator) -> None:
    backend.go(GOAL)
    spinner.until(lambda: backend.feedback() and nav2.running, "the first goal")
    backend.go(2.0 * GOAL)
    spinner.until(lambda: backend.feedback() and len(nav2.goals) == 2, "the second goal")
    assert backend.feedback().result is None, "how the first one ended is nobody's business"
    nav2.finish("succeed")
    spinner.until(lambda: backend.feedback().result is not None, "a result")
    assert backend.feedback().result.reached


@pytest.mark.parametrize("at_once", [True, False])
def test_a_cancelled_drive_has_been_cancelled(spinner, nav2: FakeNav2, backend: ActionNavigator, at_once: bool) -> None:
    spinner.until(lambda: backend._drive.server_is_ready(), "the server")
    backend.go(GOAL)
    if not at_once:
        spinner.until(lambda: backend.feedback() and nav2.running, "the goal")
    backend.cancel()
    spinner.until(lambda: backend.feedback().result is not None, "a result")
    result = backend.feedback().result
    assert result is not None and result.cancelled and not result.reached and nav2.running is None


def test_a_rejected_goal_is_a_result(spinner, nav2: FakeNav2, backend: ActionNavigator) -> None:
    nav2.accepts = False
    backend.go(GOAL)
    spinner.until(lambda: backend.feedback().result is not None, "a result")
    assert "rejected" in backend.feedback().result.message and not backend.feedback().result.reached


def test_a_plan_and_what_speaks_against_one(spinner, nav2: FakeNav2, backend: ActionNavigator) -> None:
    """`plan` blocks, so the servers need a thread meanwhile."""

    halt = threading.Event()

    def serve() -> None:
        while not halt.is_set():
            spinner.executor.spin_once(timeout_sec=0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        plan = backend.plan(np.zeros(3), GOAL)
        assert np.allclose(plan.path, nav2.path) and plan.length_m == pytest.approx(1.5)
        nav2.code, nav2.message = 206, "the goal lies in a wall"
        with pytest.raises(PlanError) as refused:
            backend.plan(np.zeros(3), GOAL)
        expected = Code.PLAN_GOAL_OCCUPIED if nav2.speaks_codes else Code.PLAN_UNKNOWN
        assert refused.value.number is expected
        nav2.code, nav2.path = 0, np.zeros((0, 3))
        with pytest.raises(PlanError, match="an empty path"):
            backend.plan(np.zeros(3), GOAL)
    finally:
        halt.set()
        thread.join()


def test_without_a_server_there_is_a_sentence(spinner) -> None:
    lonely = ActionNavigator(spinner.add(Node("user")), server_timeout_s=0.3)
    lonely.go(GOAL)
    assert lonely.feedback().result is None
    spinner.until(lambda: lonely.feedback().result is not None, "a result")
    message = lonely.feedback().result.message
    assert "navigate_to_pose that isn't there" in message and "fix: start navigator_node or Nav2" in message
    with pytest.raises(PlanError, match="no action server compute_path_to_pose"):
        lonely.plan(np.zeros(3), GOAL)
    lonely.close()


def test_a_server_that_dies_under_way_is_noticed(spinner) -> None:
    nav2 = FakeNav2(spinner)
    backend = ActionNavigator(spinner.add(Node("user")), server_timeout_s=1.0)
    backend.go(GOAL)
    spinner.until(lambda: backend.feedback() and nav2.running, "the goal")
    spinner.spin(0.2)
    spinner.executor.remove_node(nav2.node)
    nav2.close()
    spinner.until(lambda: backend.feedback().result is not None, "a result")
    assert "isn't there" in backend.feedback().result.message
    backend.close()


class Humble:
    """NavigateToPose's result there: nothing but std_msgs/Empty."""

    @staticmethod
    def get_fields_and_field_types() -> dict[str, str]:
        return {"result": "std_msgs/Empty"}


class Iron:
    """A code, but no message."""

    error_code = 107

    @staticmethod
    def get_fields_and_field_types() -> dict[str, str]:
        return {"error_code": "uint16"}


def test_results_of_every_distribution_are_read() -> None:
    assert outcome(GoalStatus.STATUS_SUCCEEDED, Humble()).reached
    assert outcome(GoalStatus.STATUS_CANCELED, Humble()).cancelled
    aborted = outcome(GoalStatus.STATUS_ABORTED, Humble())
    assert aborted.code is Code.CONTROL_UNKNOWN and not aborted.reached and "without a reason" in aborted.message
    assert outcome(GoalStatus.STATUS_ABORTED, Iron()).code is Code.CONTROL_TIMED_OUT
    kilted = NavigateToPose.Result(error_code=9002, error_msg="no such tree")
    assert told(kilted, Code.CONTROL_UNKNOWN) == (Code.CONTROL_UNKNOWN, "code 9002: no such tree")
