"""A ROS context of its own per test, nodes on one executor of the test's thread, and a robot that the test plays."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor, TimeoutException
from rclpy.node import Node

from vla_core.files import workspace_root

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def ros_arguments(request: pytest.FixtureRequest) -> list[str]:
    """What the launch gives to every node; a test module may change parameters by PARAMETERS."""
    files = [str(workspace_root() / "config" / f"{name}.yaml") for name in ("navigation", "control")]
    given = {"use_sim_time": "true", "robot": "so101_mobile", **getattr(request.module, "PARAMETERS", {})}
    words = [word for file in files for word in ("--params-file", file)]
    return ["--ros-args", *words, *(word for item in given.items() for word in ("-p", ":=".join(item)))]


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch, ros_arguments: list[str]) -> Iterator[None]:
    """rclpy on a random domain, seen by this machine only."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(args=ros_arguments)
    yield
    rclpy.try_shutdown()


class Spinner:
    """Nodes on one executor."""

    def __init__(self) -> None:
        self.executor = SingleThreadedExecutor()
        self.nodes: list[Node] = []

    def add(self, node: Node) -> Node:
        """Start the node as `vla_ros.node.run` does."""
        self.nodes.append(node)
        if hasattr(node, "start"):
            node.start()
        self.executor.add_node(node)
        return node

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        """Spin until the condition holds; fails when it doesn't in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.executor.spin_once(timeout_sec=0.02)
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s:g} s: {what}")

    def spin(self, duration_s: float) -> None:
        """Serve callbacks for so long."""
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.005)

    def settle(self, quiet_s: float = 0.004) -> None:
        """Serve callbacks until none has come for a while, so that simulated time never outruns the nodes."""
        while True:
            try:
                task, _, _ = self.executor.wait_for_ready_callbacks(timeout_sec=quiet_s)
            except TimeoutException:
                return
            task()
            if task.exception() is not None:
                raise task.exception()

    def close(self) -> None:
        for node in reversed(self.nodes):
            if hasattr(node, "on_exit"):
                node.on_exit()
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()


@pytest.fixture
def spinner(ros: None) -> Iterator[Spinner]:
    made = Spinner()
    yield made
    made.close()
