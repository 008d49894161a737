"""For tests of nodes: a ROS domain that nobody else uses, and nodes on one executor of the test's thread."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import TimeoutException
from rclpy.node import Node

from vla_ros.executor import single_threaded

DOMAINS = range(1, 101)  # those that are safe on every platform (ROS 2 documentation, "The ROS_DOMAIN_ID")


@contextmanager
def private_domain() -> Iterator[int]:
    """A random domain, seen by this machine only, for this process and all that it starts; the old one comes back."""
    wanted = {
        "ROS_DOMAIN_ID": str(random.SystemRandom().choice(DOMAINS)),  # a test may have seeded the shared generator
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ |= wanted
    try:
        yield int(wanted["ROS_DOMAIN_ID"])
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Spinner:
    """Nodes on one executor. Needs an initialised rclpy."""

    def __init__(self) -> None:
        self.executor = single_threaded()
        self.nodes: list[Node] = []

    def add(self, node: Node) -> Node:
        """Start the node as `vla_ros.node.run` does."""
        self.nodes.append(node)
        if hasattr(node, "start"):
            node.start()
        self.executor.add_node(node)
        return node

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        """Spin until the condition holds.

        Raises:
            AssertionError: it doesn't in time.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.executor.spin_once(timeout_sec=0.02)
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s:g} s: {what}")

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
        """End the nodes, the newest first."""
        for node in reversed(self.nodes):
            if hasattr(node, "on_exit"):
                node.on_exit()
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()


@contextmanager
def private_ros(arguments: list[str]) -> Iterator[None]:
    """rclpy with these arguments, on a domain of its own."""
    with private_domain():
        rclpy.init(args=arguments)
        try:
            yield
        finally:
            rclpy.try_shutdown()
