"""The safety monitor as a node, with a servo that is played: what in the servo's own record stops the robot."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from vla_control.safety_monitor_node import SafetyMonitorNode
from vla_core.peer import Peer
from vla_core.records import SAFETY
from vla_msgs.msg import SafetyState
from vla_ros import qos, stamps

USE_SIM_TIME = True
STEP_NS = 20_000_000
CLOCK_NS = (
    100_000_000_000  # stands still, and the servo's stamps run ahead of it: nothing gets old, however long it takes
)
NUMBERS = ("q", "qd", "tau", "wrench", "error_m", "error_rad")
TRACKING = "tracking error above 0.15 m or 0.75 rad for 1 s"
CONTACT = "contact force above 60 N for 0.2 s"
NOT_FINITE = "servo holds numbers that aren't finite"


class Servo(Node):
    """Plays the servo's record, and hears what the monitor makes of it."""

    def __init__(self, spinner: Any, status: Any, link: str) -> None:
        super().__init__("played_servo", use_global_arguments=False)
        self._spinner, self._status, self._safety = spinner, status, Peer(link, "safety", SAFETY)
        self._stamp_ns = CLOCK_NS
        clock = qos.publisher(self, "/clock", Clock)
        self.create_timer(0.02, lambda: clock.publish(Clock(clock=stamps.to_msg(CLOCK_NS))))
        self._client = self.create_client(Trigger, "safety_monitor_node/release")
        self.state = SafetyState()
        qos.subscription(self, "safety_state", SafetyState, lambda m: setattr(self, "state", m))
        spinner.add(self)
        self._safety.refresh()

    def play(self, seconds: float, **values: object) -> bool:
        """The same record for so long on its own clock, each read by the monitor; returns whether it stops the arm."""
        for _ in range(max(1, math.ceil(seconds * 1e9 / STEP_NS))):
            self._stamp_ns += STEP_NS
            self._status.write(stamp_ns=self._stamp_ns, monotonic_ns=time.monotonic_ns(), **values)
            self._beats(2)  # one may have begun before
        return bool(self._safety.record["stop"][0])

    def stops(self, **values: object) -> bool:
        """Whether what stands is confirmed (after 0.15 s of real time) and stops the arm."""
        return any(self.play(0.0, **values) for _ in range(150))

    def release(self) -> Any:
        self._spinner.until(self._client.service_is_ready, "release service")
        future = self._client.call_async(Trigger.Request())
        self._spinner.until(future.done, "answer of release")
        return future.result()

    def _beats(self, count: int) -> None:
        self._safety.poll()
        until = int(self._safety.record["beat"][0]) + count
        self._spinner.until(lambda: self._safety.poll() and int(self._safety.record["beat"][0]) >= until, "beats")

    def close(self) -> None:
        self._safety.close()


@pytest.fixture
def servo(spinner: Any, link: str, writer: Callable[[str], Any]) -> Iterator[Servo]:
    status = writer("status")
    spinner.add(SafetyMonitorNode())
    servo = Servo(spinner, status, link)
    spinner.until(lambda: not servo.play(0.0), "first reading of the clock")
    yield servo
    servo.close()


@pytest.fixture
def reports(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Errors that were logged since the last call, without their stamps."""

    def read() -> list[str]:
        return [line.split("]: ")[1] for line in capfd.readouterr().err.splitlines() if "[ERROR]" in line]

    return read


def test_numbers_of_the_servo_that_are_not_finite_stop_the_robot_at_once(
    reports: Callable[[], list[str]], spinner: Any, servo: Servo
) -> None:
    assert not servo.play(0.1)
    for name in NUMBERS:
        value = math.nan if name.startswith("error") else [0.0, math.inf]
        assert servo.play(0.2, **{name: value}), name
        spinner.until(lambda: servo.state.stopped, "stop that is told")
        assert servo.state.cause == NOT_FINITE
        assert reports() == [f"stop: {NOT_FINITE}"], name
        assert servo.play(0.1), "a stop that nobody has released ended by itself"
        assert servo.release().success and not servo.play(0.1)
    assert reports() == []


@pytest.mark.parametrize(
    ("over", "under", "time_s", "cause"),
    [
        ({"error_m": 0.16}, {"error_m": 0.14}, 1.0, TRACKING),
        ({"error_rad": 0.76}, {"error_rad": 0.74}, 1.0, TRACKING),
        ({"wrench": [0.0, 40.0, 50.0]}, {"wrench": [0.0, 40.0, 44.0, 70.0]}, 0.2, CONTACT),
    ],
    ids=["distance", "rotation", "contact"],
)
def test_divergence_and_force_stop_the_robot_when_they_last(
    reports: Callable[[], list[str]],
    spinner: Any,
    servo: Servo,
    over: dict[str, object],
    under: dict[str, object],
    time_s: float,
    cause: str,
) -> None:
    assert not servo.play(1.5 * time_s, **under), "within its bound"
    assert not servo.play(0.8 * time_s, **over) and not servo.play(0.1), "shorter than it may last"
    assert reports() == []
    servo.play(1.1 * time_s, **over)
    assert servo.stops(**over) and servo.play(0.2, **over)
    spinner.until(lambda: servo.state.stopped, "stop that is told")
    assert servo.state.cause == cause
    answer = servo.release()
    assert not answer.success and answer.message == f"still standing: {cause}"
    assert servo.play(0.1), "over, and still latched"
    assert reports() == [f"stop: {cause}"]
    assert servo.release().success and not servo.play(0.1)
    assert reports() == []
