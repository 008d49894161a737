"""A robot on its way through a flat: each process of that way is killed or hangs, and the base comes to rest."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from nav2_msgs.action import NavigateToPose
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.task import Future

from vla_bringup.graph import Graph, GraphOptions, simulated_graph
from vla_bringup.runner import Runner
from vla_bringup.session import Session
from vla_bringup.testing import running
from vla_control.core.robot import load_robot_config
from vla_core.errors import ConfigError
from vla_core.files import config_path, load_yaml, workspace_root
from vla_core.types import NS
from vla_ros import qos
from vla_ros.stamps import to_ns

#: 6 m of free floor ahead
GRAPH: Graph = simulated_graph(GraphOptions.of_scene("flat", seed=3, split="train", link=f"drivefault{os.getpid()}"))
NEAR_M, FAR_M = 0.3, 3.3
LIMIT_S = 180.0  # of every wait, wall time: a loaded machine is slow
ANSWER_S = 10.0  # wall time
REST_S = 3.0  # simulated, from the fault to rest: everybody's patience and the brake from full speed
LATE_S = 0.2  # from the last odometry that was heard to the fault itself
MOVES_M_S, STANDS_M_S = 0.15, 0.01
_BASE = load_robot_config("so101_mobile").base
assert _BASE is not None
SPEED_M_S, BRAKE_M_S2 = float(_BASE.velocity[0]), float(_BASE.acceleration[0])


def _configured(file: str, node: str) -> dict[str, float]:
    found: dict[str, float] = load_yaml(workspace_root() / "config" / file)[f"/**/{node}"]["ros__parameters"]
    return found


#: How long the base's driver goes on without base_node, base_node without the navigator, the navigator without a pose,
#: which SLAM tells ahead.
DRIVER_S = float(load_yaml(config_path("scenes", "flat"))["base"]["command_timeout_s"])
BASE_S = _configured("control.yaml", "base_node")["timeout_s"]
POSE_S = _configured("navigation.yaml", "navigator_node")["stale_s"]
SCAN_S = POSE_S  # and without a scan that shows anything
POSE_S += _configured("navigation.yaml", "slam_node")["transform_tolerance_s"]


@dataclass(frozen=True)
class Fault:
    """What happens to a process, and how long the base then goes on by design [s]."""

    process: str
    patience_s: float
    number: signal.Signals = signal.SIGKILL

    def __str__(self) -> str:
        return f"{self.process} {'killed' if self.number == signal.SIGKILL else 'hangs'}"


FAULTS = [
    Fault("base_node", DRIVER_S), Fault("navigator_node", BASE_S), Fault("slam_node", POSE_S),
    Fault("navigator_node", BASE_S, signal.SIGSTOP), Fault("base_node", DRIVER_S, signal.SIGSTOP),
]  # fmt: skip


class Drive:
    """A running graph, and somebody who sends the robot about."""

    def __init__(self, runner: Runner, session: Session) -> None:
        self.runner, self.session = runner, session
        self.odometry: list[Odometry] = []
        qos.subscription(session.node, "odom", Odometry, self.odometry.append)
        self._client = ActionClient(session.node, NavigateToPose, "navigate_to_pose")

    def wait(self, ready: object, what: str) -> None:
        self.session.wait_until(ready, what, LIMIT_S)  # type: ignore[arg-type]

    @property
    def speed_m_s(self) -> float:
        return abs(self.odometry[-1].twist.twist.linear.x)

    @property
    def now_ns(self) -> int:
        return to_ns(self.odometry[-1].header.stamp)

    @property
    def x_m(self) -> float:
        """How far it has come along the free floor."""
        return float(self.odometry[-1].pose.pose.position.x)

    def go(self, x_m: float) -> ClientGoalHandle | None:
        """Ask for a place along the free floor; None: nobody takes the goal, or it is refused.

        A server that was killed is still known for a while: what is asked of it then gets no answer.
        """
        self.wait(self._client.server_is_ready, "navigate_to_pose")
        goal, sent = NavigateToPose.Goal(), []
        goal.pose.header.frame_id = "odom"
        goal.pose.pose.position.x, goal.pose.pose.orientation.w = x_m, 1.0
        self._on_spinning_thread(lambda: sent.append(self._client.send_goal_async(goal)))
        asked_s = time.monotonic()
        self.wait(lambda: time.monotonic() - asked_s > ANSWER_S or (sent and sent[0].done()), "an answer to the goal")
        handle: ClientGoalHandle | None = sent[0].result() if sent[0].done() else None
        return handle if handle is not None and handle.accepted else None

    def status(self, handle: ClientGoalHandle) -> int:
        """How a goal ended."""
        ended: list[Future] = []
        self._on_spinning_thread(lambda: ended.append(handle.get_result_async()))
        self.wait(lambda: bool(ended) and ended[0].done(), "a result")
        return int(ended[0].result().status)

    def arrives(self, x_m: float) -> bool:
        """Whether a drive succeeds; what isn't ready yet after a fault is asked again."""
        for _ in range(20):
            handle = self.go(x_m)
            if handle is not None and self.status(handle) == GoalStatus.STATUS_SUCCEEDED:
                return True
            begun = self.now_ns
            self.wait(lambda begun=begun: self.now_ns > begun + NS, "a second later")
        return False

    def _on_spinning_thread(self, do: object) -> None:
        self.session.node.executor.create_task(do)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    with running(GRAPH, tmp_path_factory.mktemp("driving")) as (runner, session):
        made = Drive(runner, session)
        made.wait(lambda: bool(made.odometry), "odometry")
        assert made.arrives(NEAR_M)
        yield made


def parameters() -> list[object]:
    """Those that hang are slow: somebody's patience has to end."""
    return [pytest.param(f, id=str(f), marks=[pytest.mark.slow] * (f.number == signal.SIGSTOP)) for f in FAULTS]


@pytest.mark.parametrize("fault", parameters())
def test_the_base_comes_to_rest_touches_nothing_and_drives_again(drive: Drive, fault: Fault) -> None:
    touched = len(drive.session.judge()["collisions"])
    to_m = FAR_M if drive.x_m < 0.5 * (NEAR_M + FAR_M) else NEAR_M
    assert drive.go(to_m) is not None
    drive.wait(lambda: drive.speed_m_s > MOVES_M_S, "the robot on its way")
    pid = drive.runner.pids[fault.process]
    begun, at_m = drive.now_ns, drive.odometry[-1].pose.pose.position
    os.kill(pid, fault.number)
    try:
        drive.wait(lambda: drive.speed_m_s < STANDS_M_S, "rest")
        rest = drive.odometry[-1]
        assert to_ns(rest.header.stamp) - begun < REST_S * NS
        place = rest.pose.pose.position
        most_m = SPEED_M_S * (fault.patience_s + LATE_S) + SPEED_M_S**2 / (2.0 * BRAKE_M_S2)
        assert np.hypot(place.x - at_m.x, place.y - at_m.y) < most_m, "patience and brake, no more"
    finally:
        if fault.number == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
    if fault.number == signal.SIGKILL:
        drive.wait(lambda: drive.runner.pids.get(fault.process, pid) != pid, "the process again")
    assert drive.arrives(drive.x_m + 0.3 * np.sign(to_m - drive.x_m))
    assert len(drive.session.judge()["collisions"]) == touched


def test_a_covered_lidar_stops_the_base_which_drives_on_when_it_sees_again(drive: Drive) -> None:
    """It says that nothing is there, in any direction: by REP 117 a free hall."""
    touched = len(drive.session.judge()["collisions"])
    to_m = FAR_M if drive.x_m < 0.5 * (NEAR_M + FAR_M) else NEAR_M
    assert drive.go(to_m) is not None
    drive.wait(lambda: drive.speed_m_s > MOVES_M_S, "the robot on its way")
    drive.session.inject("lidars_blind")
    begun, at_m = drive.now_ns, drive.x_m
    try:
        drive.wait(lambda: drive.speed_m_s < STANDS_M_S, "rest")
        assert to_ns(drive.odometry[-1].header.stamp) - begun < REST_S * NS
        assert abs(drive.x_m - at_m) < SPEED_M_S * (SCAN_S + LATE_S) + SPEED_M_S**2 / (2.0 * BRAKE_M_S2)
    finally:
        drive.session.inject("lidars_see")
    assert drive.arrives(drive.x_m + 0.3 * np.sign(to_m - drive.x_m))
    assert len(drive.session.judge()["collisions"]) == touched
    with pytest.raises(ConfigError, match=r"one of: .*kidnapped"):
        drive.session.inject("nonsense")
