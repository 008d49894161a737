"""Stage 4, base. In: base_target (50 Hz) of the policy, cmd_vel_nav (10 Hz) of the navigator or Nav2, which up to Jazzy
tells cmd_vel_nav_unstamped unless it is asked for stamps, safety_state. Out: cmd_vel (50 Hz), and cmd_vel_unstamped for
bases that take a plain Twist.

Lifecycle node. While the navigator drives, the policy's targets are passed over. Targets hold until the next one; when
they end, at a stop, and when the node is deactivated the base is slowed down within its limits. A stop is latched by
the safety monitor: it lasts until a person releases it there. A process that is interrupted or killed can publish no
more, so the base's driver must stop by itself when commands end (`cmd_vel_timeout` of ros2_controllers).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from rclpy._rclpy_pybind11 import RCLError

from vla_control import conversions
from vla_control.core.base.controller import BaseCommand, BaseController, BaseTargetError
from vla_control.core.robot import load_robot_config
from vla_core.errors import ConfigError
from vla_core.topics import topic
from vla_msgs.msg import SafetyState
from vla_ros import parameters, qos, stamps
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.lifecycle import LifecycleNode
from vla_ros.node import run

_SCHEMA = Path(__file__).parent / "parameters" / "base_node.yaml"
_PERIOD_S = 1.0 / topic("cmd_vel").rate_hz
_QUIET_S = 5.0  # a kind of refusal is said once in this time; all are counted
_LONGEST_STOP_S = 5.0  # deactivation waits no longer for the base to be at rest (monotonic clock)


class BaseNode(LifecycleNode):
    """Takes targets, publishes commands."""

    def __init__(self) -> None:
        super().__init__("base_node")
        self._p = parameters.declare(self, _SCHEMA)
        self._commands = qos.publisher(self, "cmd_vel", TwistStamped)
        self._plain = qos.publisher(self, "cmd_vel_unstamped", Twist)
        qos.subscription(self, "base_target", TwistStamped, self._on_target)
        qos.subscription(self, "cmd_vel_nav", TwistStamped, self._on_navigation)
        qos.subscription(self, "cmd_vel_nav_unstamped", Twist, self._on_plain)
        qos.subscription(self, "safety_state", SafetyState, self._on_safety)
        self.create_timer(_PERIOD_S, self._on_tick)
        self._refused, self._said, self._last_error = 0, -_QUIET_S, ""
        self._safety_ns, self._stopped = -1, False
        self._navigation_ns, self._yielded = -1, 0  # last target of the navigator; targets passed over for it
        Diagnostics(self, self._status, hardware_id=self._p.robot)

    # -- life cycle ---------------------------------------------------------------------------------------------------

    def configure(self) -> None:
        base = load_robot_config(self._p.robot).base
        if base is None:
            raise ConfigError(f"robot '{self._p.robot}' without a base", "a section `base`", "choose another robot")
        self._core = BaseController(base, _PERIOD_S, self._p.timeout_s)
        self._frame = base.frame
        self._command = BaseCommand(np.zeros(3), "hold")

    def deactivate(self) -> None:
        """Bring the base to rest before the last command is sent; not once the ROS context has gone."""
        self._core.stop()
        deadline, now_ns = time.monotonic() + _LONGEST_STOP_S, stamps.now_ns(self)
        while self.context.ok() and not self._core.at_rest and time.monotonic() < deadline:
            time.sleep(_PERIOD_S)
            now_ns += round(_PERIOD_S * 1e9)
            try:
                self._send(self._core.tick(now_ns), now_ns)
            except RCLError:
                if self.context.ok():  # else a signal ended it between the look and the message
                    raise

    # -- in -----------------------------------------------------------------------------------------------------------

    def _on_target(self, message: TwistStamped) -> None:
        age_ns = stamps.now_ns(self) - self._navigation_ns
        if self._navigation_ns >= 0 and 0 <= age_ns <= round(self._p.timeout_s * 1e9):
            self._yielded += 1
            return
        self._follow(message)

    def _on_navigation(self, message: TwistStamped) -> None:
        self._navigation_ns = stamps.now_ns(self)
        self._follow(message)

    def _on_plain(self, twist: Twist) -> None:
        """Nobody knows how long it was under way: it counts from its arrival."""
        if not self.active:
            return
        message = TwistStamped(twist=twist)
        message.header.stamp, message.header.frame_id = stamps.to_msg(stamps.now_ns(self)), self._frame
        self._on_navigation(message)

    def _follow(self, message: TwistStamped) -> None:
        if not self.active:
            return
        try:
            stamp_ns = min(stamps.to_ns(message.header.stamp), stamps.now_ns(self))  # /clock may lag behind messages
            self._core.follow(conversions.axes(message), stamp_ns)
            self._last_error = ""
        except BaseTargetError as error:
            self._refused += 1
            self._last_error = str(error)
            now = time.monotonic()
            if now - self._said >= _QUIET_S:
                self._said = now
                self.get_logger().warning(f"target refused: {error}")

    def _on_safety(self, message: SafetyState) -> None:
        self._safety_ns, self._stopped = stamps.now_ns(self), message.stopped

    # -- out ----------------------------------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        if not self.active:
            return
        now_ns = stamps.now_ns(self)
        if self._stopped or (self._p.require_safety_monitor and not self._watched(now_ns)):
            self._core.stop()
        else:
            self._core.release()
        self._send(self._core.tick(now_ns), now_ns)

    def _watched(self, now_ns: int) -> bool:
        age_ns = now_ns - self._safety_ns
        return self._safety_ns >= 0 and age_ns <= round(topic("safety_state").max_age_s * 1e9)

    def _send(self, command: BaseCommand, now_ns: int) -> None:
        self._command = command
        message = conversions.twist(command.twist, now_ns, self._frame)
        self._commands.publish(message)
        self._plain.publish(message.twist)

    def _status(self) -> list[Status]:
        if not self.active:
            return [Status(Level.OK, "inactive")]
        mode = self._command.mode
        level = Level.WARN if self._last_error or mode in ("stop", "timeout") else Level.OK
        return [Status(level, self._last_error or mode, {"refused": self._refused, "yielded": self._yielded})]


def main() -> None:
    """Entry point of the process."""
    sys.exit(run(BaseNode))


if __name__ == "__main__":
    main()
