"""The base node among its neighbours: what it publishes, when it stops, and that it ends at rest."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import pairwise

import pytest
import rclpy
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node

from vla_control import conversions
from vla_control.base_node import BaseNode
from vla_core.errors import ConfigError
from vla_msgs.msg import SafetyState
from vla_ros import qos, stamps


class Neighbours:
    """Executor and safety monitor on one side, the base's driver on the other."""

    def __init__(self, spinner) -> None:
        self.node = spinner.add(Node("neighbours"))
        self.targets = qos.publisher(self.node, "base_target", TwistStamped)
        self.safety = qos.publisher(self.node, "safety_state", SafetyState)
        self.commands: list[TwistStamped] = []
        self.plain: list[Twist] = []
        qos.subscription(self.node, "cmd_vel", TwistStamped, self.commands.append)
        qos.subscription(self.node, "cmd_vel_unstamped", Twist, self.plain.append)
        self.twist, self.stopped = (0.3, 0.0, 0.2), False
        self.speaks = self.watches = True
        self.node.create_timer(0.02, self._on_timer)

    def _on_timer(self) -> None:
        if self.speaks:
            self.targets.publish(conversions.twist(self.twist, stamps.now_ns(self.node), "base_link"))
        if self.watches:
            self.safety.publish(SafetyState(stopped=self.stopped))

    def moves(self) -> bool:
        """Whether the newest command is all but what was asked for."""
        return bool(self.commands) and self.commands[-1].twist.linear.x > 0.299

    def rests(self) -> bool:
        """Whether the newest command is to stand still."""
        last = self.commands[-1].twist
        return abs(last.linear.x) < 1e-6 and abs(last.angular.z) < 1e-6


@pytest.fixture
def neighbours(spinner) -> Neighbours:
    return Neighbours(spinner)


def test_targets_are_followed_on_both_topics(spinner, neighbours) -> None:
    spinner.add(BaseNode())
    spinner.until(neighbours.moves, "the speed that was asked for")
    last = neighbours.commands[-1]
    assert last.header.frame_id == "base_link" and abs(last.twist.angular.z - 0.2) < 1e-3
    spinner.until(lambda: neighbours.plain[-1:] and neighbours.plain[-1].linear.x > 0.299, "the plain twist")
    speeds = [command.twist.linear.x for command in neighbours.commands]
    assert max(abs(b - a) for a, b in pairwise(speeds)) < 0.1, "smooth"


@pytest.mark.parametrize("how", ["executor ends", "safety monitor ends", "stop"])
def test_it_comes_to_rest(spinner, neighbours, how: str) -> None:
    spinner.add(BaseNode())
    spinner.until(neighbours.moves, "motion")
    if how == "executor ends":
        neighbours.speaks = False
    elif how == "safety monitor ends":
        neighbours.watches = False
    else:
        neighbours.stopped = True
    spinner.until(neighbours.rests, "rest")
    neighbours.speaks = neighbours.watches = True
    neighbours.stopped = False
    spinner.until(neighbours.moves, "motion again")


@pytest.mark.parametrize("kind", [TwistStamped, Twist])
def test_the_policy_s_targets_wait_while_the_navigator_drives(spinner, neighbours, kind: type) -> None:
    """Two sources in turn would make the base jerk between them. Nav2 up to Jazzy tells a Twist without a stamp."""
    spinner.add(BaseNode())
    spinner.until(neighbours.moves, "motion by the policy")
    name = "cmd_vel_nav" if kind is TwistStamped else "cmd_vel_nav_unstamped"
    navigator = qos.publisher(neighbours.node, name, kind)

    def drive() -> None:
        stamped = conversions.twist((-0.1, 0.0, 0.0), stamps.now_ns(neighbours.node), "base_link")
        navigator.publish(stamped if kind is TwistStamped else stamped.twist)

    drives = neighbours.node.create_timer(0.05, drive)

    def backwards() -> bool:
        return abs(neighbours.commands[-1].twist.linear.x + 0.1) < 1e-3

    spinner.until(backwards, "the navigator's speed")
    count = len(neighbours.commands)
    spinner.until(lambda: len(neighbours.commands) > count + 30, "more commands")
    assert max(command.twist.linear.x for command in neighbours.commands[count:]) < 0.0
    drives.cancel()
    spinner.until(neighbours.moves, "motion by the policy again")


def test_nothing_moves_before_the_safety_monitor_is_there(spinner, neighbours) -> None:
    neighbours.watches = False
    spinner.add(BaseNode())
    spinner.until(lambda: len(neighbours.commands) > 30, "commands")
    assert neighbours.rests() and all(command.twist == Twist() for command in neighbours.commands)


def test_deactivated_it_has_come_to_rest(spinner, neighbours) -> None:
    node = spinner.add(BaseNode())
    spinner.until(neighbours.moves, "motion")
    node.trigger_deactivate()
    spinner.until(neighbours.rests, "the last command")
    count = len(neighbours.commands)
    spinner.spin(0.2)
    assert len(neighbours.commands) == count


def test_a_robot_without_a_base_is_refused(ros, ros_arguments) -> None:
    rclpy.try_shutdown()
    rclpy.init(args=[*ros_arguments, "-p", "robot:=panda"])
    node = BaseNode()
    with pytest.raises(ConfigError, match="robot 'panda' without a base"):
        node.start()
    node.destroy_node()


def test_a_signal_ends_it_cleanly_while_it_moves(spinner, neighbours, ros_arguments) -> None:
    """Regression: its last commands were published on a context that the signal had ended."""
    command = [sys.executable, "-m", "vla_control.base_node", *ros_arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        spinner.until(neighbours.moves, "motion")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30.0)
        assert process.returncode == 0, errors
    finally:
        process.kill()
