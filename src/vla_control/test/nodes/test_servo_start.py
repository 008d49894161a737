"""The servo's first answer to a world in lockstep, and who it waits for before it gives that."""

from __future__ import annotations

import time

from vla_core.records import LIMITS, MODES

HOLD, STOP = MODES.index("hold"), MODES.index("stop")


def beat(safety, stop: int = 0) -> None:
    safety.write(stop=stop, beat=1, monotonic_ns=time.monotonic_ns())


def test_regression_a_world_begins_when_the_robot_is_free_whoever_starts_first(fake_robot, start_loop, writer) -> None:
    """Tick 0 was answered by a stop if the monitor came up later; the motion after it differed by 0.1 mrad."""
    safety = writer("safety")
    beat(safety, stop=1)
    loop = start_loop(require_safety_monitor=True, free_wait_s=30.0)
    time.sleep(0.3)
    assert int(loop.status["stamp_ns"]) == 0, "answered a stopped robot"
    beat(safety)
    fake_robot.run(5)
    assert int(loop.status["mode"]) == HOLD
    assert int(loop.status["limit_counts"][LIMITS.index("safety_stop")]) == 0


def test_a_world_whose_robot_stays_stopped_begins_all_the_same(fake_robot, start_loop, writer) -> None:
    beat(writer("safety"), stop=1)
    loop = start_loop(require_safety_monitor=True, free_wait_s=0.3)
    fake_robot.run(5)
    assert int(loop.status["mode"]) == STOP
