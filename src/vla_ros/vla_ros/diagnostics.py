"""One DiagnosticArray per second on /diagnostics: level, message and numbers of a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from vla_ros import qos, stamps


class Level(IntEnum):
    """Levels of diagnostic_msgs, which stores them as one byte."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, slots=True)
class Status:
    """State of one part of a node.

    Attributes:
        part: Name after the node's, empty for the node itself.
        level: How bad it is.
        message: One sentence.
        values: Numbers and texts, by name with unit.
    """

    level: Level
    message: str
    values: Mapping[str, object] = field(default_factory=dict)
    part: str = ""


class Diagnostics:
    """Publishes what `source` returns once per second of real time, also while simulated time stands still.

    Args:
        node: The node that owns the publisher and the timer.
        source: Called on the executor's thread; returns the statuses of this second.
        hardware_id: Robot or device, may be empty.
        now_ns: Time of the statuses [ns, ROS clock]; None: the node's clock (the simulator makes its own).
    """

    PERIOD_S = 1.0

    def __init__(
        self,
        node: Node,
        source: Callable[[], list[Status]],
        hardware_id: str = "",
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        self._node, self._source, self._hardware_id = node, source, hardware_id
        self._now_ns = now_ns or (lambda: stamps.now_ns(node))
        self._publisher = qos.publisher(node, "/diagnostics", DiagnosticArray)
        self._timer = node.create_timer(self.PERIOD_S, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish now."""
        message = DiagnosticArray(status=[self._to_msg(status) for status in self._source()])
        message.header.stamp = stamps.to_msg(self._now_ns())
        self._publisher.publish(message)

    def _to_msg(self, status: Status) -> DiagnosticStatus:
        name = self._node.get_fully_qualified_name().lstrip("/")
        return DiagnosticStatus(
            level=bytes([status.level]),
            name=f"{name}: {status.part}" if status.part else name,
            message=status.message,
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=_text(value)) for key, value in status.values.items()],
        )


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
