"""The watch from outside sees what must not be; else no fault could fail."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vla_bringup.faults.arm_watch import ArmWatch
from vla_control.core.robot import RobotConfig, load_robot_config
from vla_core.records import MODES, STATE, STATUS
from vla_core.shared_memory import Mailbox, link_path

LINK = f"watch{os.getpid()}"
MS = 1_000_000


class Robot:
    """Writes what simulator and servo would."""

    def __init__(self, config: RobotConfig) -> None:
        self.boxes = {n: Mailbox(link_path(LINK, n), d, create=True) for n, d in (("state", STATE), ("status", STATUS))}
        self.state, self.status, self.config = np.zeros(1, STATE), np.zeros(1, STATUS), config
        self.state["q"][0, :7] = config.home_rad

    def write(self, stamp_ms: int) -> None:
        self.state["stamp_ns"] = self.status["stamp_ns"] = stamp_ms * MS
        self.boxes["state"].write(self.state)
        self.boxes["status"].write(self.status)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not done():
        assert time.monotonic() < deadline, "the watch didn't see it"
        time.sleep(0.005)


@pytest.fixture
def robot() -> Iterator[Robot]:
    robot = Robot(load_robot_config("panda"))
    yield robot
    for box in robot.boxes.values():
        box.close(unlink=True)


@pytest.fixture
def watch(robot: Robot) -> Iterator[ArmWatch]:
    watch = ArmWatch(LINK, robot.config, still_s=1e9)
    robot.write(1000)
    until(lambda: watch.stamp_ns == 1000 * MS)
    watch.begin()
    yield watch
    watch.close()


@pytest.mark.parametrize(
    ("record", "field", "value", "kind"),
    [
        ("state", "q", 3.5, "joint position"),
        ("state", "qd", -2.4, "joint speed"),
        ("state", "qd", np.nan, "joint speed"),
        ("status", "qd_target", 2.3, "qd_target"),
        ("status", "qdd_target", 16.0, "qdd_target"),
        ("status", "tau", np.inf, "tau"),
        ("status", "max_jerk", 600.0, "jerk"),
    ],
)
def test_a_broken_limit_is_seen(
    robot: Robot, watch: ArmWatch, record: str, field: str, value: float, kind: str
) -> None:
    written = getattr(robot, record)[field]
    written[(0, 0) if written.ndim == 2 else 0] = value
    robot.write(1010)
    until(lambda: any(text.startswith(kind) for text in watch.violations))


def test_rest_is_told_from_motion(robot: Robot, watch: ArmWatch) -> None:
    robot.state["qd"][0, 2], robot.status["mode"] = 0.5, MODES.index("track")
    robot.write(1010)
    until(lambda: watch.moves)
    watch.begin()
    assert watch.rested_ns is None
    robot.state["qd"][0, 2] = 0.0
    for stamp_ms in range(1020, 1060, 10):
        robot.write(stamp_ms)
        until(lambda at=stamp_ms: watch.stamp_ns == at * MS)
    until(lambda: watch.rested_ns == 1010 * MS)
    assert not watch.moves and watch.violations == {}
