"""Stage 4/4, the ROS side. In: nothing; the servo loop, a child process, has its own shared memory. Out: control_state
(50 Hz), /diagnostics, and to the loop `settings`: compliance, phase and payload, parameters that may change while the
arm moves.

Lifecycle node: activating starts the loop and waits until it is ready, deactivating lets it brake and ends it. Should
the loop die, this node ends with an error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType

from vla_control import conversions
from vla_control.core.compliance import settings_record
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import load_robot_config
from vla_control.servo_loop import LoopParameters
from vla_control.servo_process import ServoProcess
from vla_core.errors import ConfigError
from vla_core.peer import Peer
from vla_core.records import LIMITS, MODES, SETTINGS, STATUS
from vla_core.shared_memory import Mailbox, link_path
from vla_core.topics import topic
from vla_msgs.msg import ControlState
from vla_ros import parameters, qos
from vla_ros.diagnostics import Diagnostics, Level, Status
from vla_ros.lifecycle import LifecycleNode
from vla_ros.node import run

_SCHEMA = Path(__file__).parent / "parameters" / "servo_node.yaml"
_WATCH_S = 0.1
_GOOD = ("hold", "track")
_FAULTY = ("non_finite_input", "stale_state")  # limits that act on faults; the others are the daily business
_OVERRUNS = "missed their deadline"


class ServoNode(LifecycleNode):
    """Keeps the servo loop and tells what it does."""

    def __init__(self) -> None:
        super().__init__("servo_node")
        self._settings: Mailbox | None = None
        self._p = parameters.declare(self, _SCHEMA, self._on_parameters)
        self._states = qos.publisher(self, "control_state", ControlState)
        self.create_timer(1.0 / topic("control_state").rate_hz, self._on_state_timer)
        # on real time: a loop that dies in lockstep stops the simulated clock too
        self.create_timer(_WATCH_S, self._on_watch_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        Diagnostics(self, self._status, hardware_id=self._p.robot)

    def configure(self) -> None:
        """Check what the loop will be given."""
        self._values = {name: getattr(self._p, name) for name in self._p}
        _servo_parameters(self._p)
        LoopParameters.from_mapping(self._values)
        self._config = load_robot_config(self._p.robot)

    def activate(self) -> None:
        self._settings = Mailbox(link_path(self._p.link, "settings"), SETTINGS, create=True)
        self._write_settings()
        try:
            self._start_loop()
        except BaseException:
            self._close_settings()
            raise

    def _start_loop(self) -> None:
        self._loop = ServoProcess(self._values, self._p.start_timeout_s)
        self._servo = Peer(self._p.link, "status", STATUS)
        self._servo.refresh()
        self._reported = dict.fromkeys((_OVERRUNS, *_FAULTY), 0)
        self.get_logger().info(f"servo loop ready: {self._loop.granted}")

    def deactivate(self) -> None:
        """Brake and end the loop."""
        self._loop.close()
        self._servo.close()
        self._close_settings()

    def _on_parameters(self, values: parameters.Parameters) -> None:
        """A change that doesn't fit, an array of a wrong length, is refused with a sentence, and nothing changes."""
        try:
            settings_record(_servo_parameters(values))
        except ConfigError as error:
            self.get_logger().error(str(error))
            return
        self._p = values
        if self._settings is not None:
            self._write_settings()

    def _write_settings(self) -> None:
        assert self._settings is not None
        self._settings.write(settings_record(_servo_parameters(self._p)))

    def _close_settings(self) -> None:
        if self._settings is not None:
            self._settings.close(unlink=True)
            self._settings = None

    def _on_state_timer(self) -> None:
        if self.active and self._servo.poll():
            self._states.publish(conversions.control_state(self._servo.record, self._config))

    def _on_watch_timer(self) -> None:
        """Raises LinkError, which ends the process, when the loop has died."""
        if self.active:
            self._loop.check()

    def _status(self) -> list[Status]:
        if not self.active:
            return [Status(Level.OK, "inactive")]
        row, granted = self._servo.record[0], self._loop.granted
        mode = MODES[int(row["mode"])]
        acting = [name for bit, name in enumerate(LIMITS) if int(row["limits_acting"]) >> bit & 1]
        values = {
            "pacing": granted["mode"], "fifo_priority": granted["fifo_priority"],
            "memory_locked": granted["memory_locked"], "tick_us_p50": float(row["tick_us_p50"]),
            "tick_us_p99": float(row["tick_us_p99"]), "wake_us_p99": float(row["wake_us_p99"]),
            "overruns": int(row["overruns"]), "limits_acting": ", ".join(acting),
            "joint_share": float(row["joint_share"]), "stiffness": float(row["stiffness"]), "phase": self._p.phase,
        }  # fmt: skip
        text = "; ".join([mode, *self._news(row)])
        return [Status(Level.OK if text in _GOOD else Level.WARN, text, values)]

    def _news(self, row: Any) -> list[str]:
        """What went wrong since the last report, also if it lasted for a single tick."""
        counts = {name: int(row["limit_counts"][LIMITS.index(name)]) for name in _FAULTY}
        counts[_OVERRUNS] = int(row["overruns"])
        before, self._reported = self._reported, counts
        new = {name: count - before[name] for name, count in counts.items() if count > before[name]}
        return [
            f"{name} in {count} ticks" if name in _FAULTY else f"{count} ticks {name}" for name, count in new.items()
        ]


def _servo_parameters(values: parameters.Parameters) -> ServoParameters:
    return ServoParameters.from_mapping({name: getattr(values, name) for name in values})


def main() -> None:
    """Entry point of the process."""
    sys.exit(run(ServoNode))


if __name__ == "__main__":
    main()
