"""The watch, a process of its own. In: joint_states, observation, action_chunk, executor_state, control_state,
instruction, /diagnostics; the servo's status by shared memory. Out: safety (shared memory, to the servo, with a
heartbeat), safety_state (10 Hz and on change).

Tracking, contact and numbers are taken from the servo's own record, not from control_state: the watch must not depend
on the node in between. Services ~/stop and ~/release. A stop is latched until it is released, also over the end of this
process: a watch that ends with a latched stop leaves its mailbox, as does one that is killed, and a watch that finds a
mailbox begins with a latched stop. Every stop and every warning is logged once, when it begins.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_control import conversions
from vla_control.core.monitor import SOURCES, Monitor, MonitorParameters, Verdict
from vla_core.events import Events
from vla_core.peer import Peer
from vla_core.records import SAFETY, STATUS
from vla_core.shared_memory import Mailbox, link_path
from vla_core.topics import topic
from vla_msgs.msg import ActionChunk, ControlState, ExecutorState, Observation, SafetyState
from vla_ros import parameters, qos, stamps
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.node import run

_SCHEMA = Path(__file__).parent / "parameters" / "safety_monitor_node.yaml"
_BY_AGE = {
    "observation": Observation, "action_chunk": ActionChunk, "executor_state": ExecutorState,
    "control_state": ControlState,
}  # fmt: skip
_LOOK_S = 0.5  # how often a mailbox that may have been re-created is looked for
_QUIET_S = 1.0  # a warning that comes back within this time is the same event
_BEFORE = "the safety monitor before this one was killed, or ended with a stop that nobody had released"


class SafetyMonitorNode(Node):
    """Takes everything, writes a heartbeat and whether to stop."""

    def __init__(self) -> None:
        super().__init__("safety_monitor_node")
        self._p = parameters.declare(self, _SCHEMA)
        path = link_path(self._p.link, "safety")
        self._monitor = Monitor(_monitor_parameters(self._p), _BEFORE if path.exists() else "")
        self._box, self._record = Mailbox(path, SAFETY, create=True), np.zeros(1, SAFETY)
        self._servo, self._look_at = Peer(self._p.link, "status", STATUS), 0.0
        self._events = Events(_QUIET_S)
        self._verdict: Verdict = self._judge()
        if self._monitor.latched:
            self.get_logger().error(f"stop: {self._verdict.cause}")
        self._states = qos.publisher(self, "safety_state", SafetyState)
        qos.subscription(self, "joint_states", JointState, self._on_joints)
        qos.subscription(self, "instruction", String, self._on_instruction)
        qos.subscription(self, "/diagnostics", DiagnosticArray, self._on_diagnostics)
        for name, kind in _BY_AGE.items():  # raw: their stamp is all that counts here
            qos.subscription(self, name, kind, partial(self._on_stamped, name), raw=True)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self.create_service(Trigger, "~/release", self._on_release)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / self._p.beat_rate_hz, self._on_beat, clock=steady)
        self.create_timer(1.0 / topic("safety_state").rate_hz, self._publish, clock=steady)
        Diagnostics(self, self._status)

    def on_exit(self) -> None:
        """Remove the mailbox, unless a stop is latched; without a heartbeat the servo stops."""
        self._servo.close()
        self._box.close(unlink=not self._monitor.latched)

    def _on_beat(self) -> None:
        self._watch_servo()
        before, self._verdict = self._verdict, self._judge()
        now_s = time.monotonic()
        for text in self._verdict.events:
            if self._events.begins(text, now_s):
                self.get_logger().warning(text)
        if (before.stopped, before.cause, before.warnings) != (
            self._verdict.stopped, self._verdict.cause, self._verdict.warnings,
        ):  # fmt: skip
            if self._verdict.stopped and self._verdict.cause != before.cause:
                self.get_logger().error(f"stop: {self._verdict.cause}")
            self._publish()

    def _watch_servo(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._servo.refresh()
        if not self._servo.poll():
            return
        row, monitor = self._servo.record[0], self._monitor
        stamp_ns = int(row["stamp_ns"])
        numbers = (row["q"], row["qd"], row["tau"], row["wrench"], row["error_m"], row["error_rad"])
        monitor.heartbeat(int(row["monotonic_ns"]))
        monitor.seen("servo", stamp_ns)
        monitor.numbers("servo", all(bool(np.isfinite(n).all()) for n in numbers))
        monitor.tracking(stamp_ns, float(row["error_m"]), float(row["error_rad"]))
        monitor.contact(stamp_ns, float(np.linalg.norm(row["wrench"][:3])))

    def _judge(self) -> Verdict:
        """Judge, and tell the servo."""
        verdict = self._monitor.evaluate(stamps.now_ns(self), time.monotonic_ns())
        self._record["stop"] = int(verdict.stopped)
        self._record["beat"] += 1
        self._record["monotonic_ns"] = time.monotonic_ns()
        self._box.write(self._record)
        return verdict

    def _publish(self) -> None:
        self._states.publish(conversions.safety_state(self._verdict, stamps.now_ns(self)))

    def _on_joints(self, message: JointState) -> None:
        self._monitor.seen("joint_states", stamps.to_ns(message.header.stamp))
        self._monitor.numbers("joint_states", conversions.joints_finite(message))

    def _on_stamped(self, name: str, message: bytes) -> None:
        self._monitor.seen(name, stamps.of_serialized(message))

    def _on_instruction(self, message: String) -> None:
        self._monitor.instruction(message.data, stamps.now_ns(self))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        wall_ns = time.monotonic_ns()
        for status in message.status:
            self._monitor.diagnostic(status.name, status.level[0], status.message, wall_ns)

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._monitor.stop("stop service")
        self._on_beat()
        response.success, response.message = True, f"stopped: {self._verdict.cause}"
        return response

    def _on_release(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        standing = self._monitor.release()
        self._on_beat()
        response.success, response.message = not standing, f"still standing: {standing}" if standing else "released"
        return response

    def _status(self) -> list[Status]:
        verdict = self._verdict
        level = Level.ERROR if verdict.stopped else Level.WARN if verdict.warnings else Level.OK
        text = f"stopped: {verdict.cause}" if verdict.stopped else "; ".join(verdict.warnings) or "watching"
        ages = {f"{name}_age_s": age for name, age in zip(SOURCES, verdict.age_s, strict=True)}
        return [Status(level, text, ages)]


def _monitor_parameters(p: parameters.Parameters) -> MonitorParameters:
    return MonitorParameters(
        max_age_s={name: topic("control_state" if name == "servo" else name).max_age_s for name in SOURCES},
        stop_on_stale=p.stop_on_stale,
        confirm_s=p.confirm_s,
        tracking_error_m=p.tracking_error_m,
        tracking_error_rad=p.tracking_error_rad,
        tracking_time_s=p.tracking_time_s,
        contact_force_n=p.contact_force_n,
        contact_time_s=p.contact_time_s,
        max_ahead_s=p.max_ahead_s,
        servo_timeout_s=p.servo_timeout_s,
        hardware=p.hardware,
        hardware_timeout_s=p.hardware_timeout_s,
    )


def main() -> None:
    """Entry point of the process."""
    sys.exit(run(SafetyMonitorNode))


if __name__ == "__main__":
    main()
