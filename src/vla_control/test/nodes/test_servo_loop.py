"""The servo loop against a robot in lockstep: follows, holds when others die, stops, ends cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from vla_control.core.parameters import ServoParameters
from vla_control.servo_process import ServoProcess
from vla_core.errors import LinkError
from vla_core.records import LIMITS, MODES, STATE
from vla_core.shared_memory import Mailbox, link_path

HOLD, TRACK, STOP = (MODES.index(name) for name in ("hold", "track", "stop"))
OFFSET = np.array([0.3, -0.2, 0.2, 0.25, -0.3, 0.2, 0.4])


def values(link: str) -> dict[str, object]:
    """What servo_node hands to the loop."""
    params = ServoParameters.from_config()
    return {name: getattr(params, name) for name in params.__slots__} | {
        "link": link, "robot": "panda", "state_timeout_s": 0.05, "safety_timeout_s": 0.5, "stop_time_s": 1.0,
        "require_safety_monitor": False, "rt_priority": 0, "link_timeout_s": 60.0,
    }  # fmt: skip


def beat(safety, stop: int = 0, age_s: float = 0.0) -> None:
    safety.write(stop=stop, beat=1, monotonic_ns=time.monotonic_ns() - round(age_s * 1e9))


def test_reaches_the_target_of_a_plan(fake_robot, start_loop, writer, straight) -> None:
    loop, plan = start_loop(), writer("plan")
    home = fake_robot.q.copy()
    loop.look()
    fake_robot.run(10)
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns))
    fake_robot.run(1500)
    status = loop.status
    assert np.abs(fake_robot.q - home - OFFSET).max() < 0.002
    assert int(status["mode"]) == HOLD
    assert int(status["tick"]) >= fake_robot.tick - 2  # written after the command
    assert int(status["answers_ns"]) == 1_010_000_000
    assert status["applied_monotonic_ns"] > 0
    assert float(status["gripper_target"]) == pytest.approx(0.04)


def test_comes_to_rest_when_the_executor_dies(fake_robot, start_loop, writer, straight) -> None:
    """The plan ends at rest, so nobody has to notice that its writer has gone; its file may even vanish."""
    loop, plan = start_loop(), writer("plan")
    home = fake_robot.q.copy()
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns))
    loop.look()
    fake_robot.run(400)
    assert int(loop.status["mode"]) == TRACK
    plan.close()
    loop.look()
    fake_robot.run(1200)
    assert int(loop.status["mode"]) == HOLD
    assert int(loop.status["starved"]) == 1
    assert np.abs(fake_robot.qd).max() < 0.01


def test_a_plan_that_is_being_written_when_its_writer_dies_is_never_used(fake_robot, start_loop, writer, straight):
    loop, plan = start_loop(), writer("plan")
    home = fake_robot.q.copy()
    plan.write(**straight(home, home, fake_robot.stamp_ns))
    loop.look()
    fake_robot.run(10)
    plan.box._counter[0] += 1  # as SIGKILL in the middle of a write leaves it
    plan.box._record[:] = 0xFF
    fake_robot.run(50)
    assert np.abs(fake_robot.q - home).max() < 0.001
    assert np.isfinite(loop.status["q_target"]).all()


def test_follows_an_executor_that_was_restarted(fake_robot, start_loop, writer, straight) -> None:
    loop, plan = start_loop(), writer("plan")
    home = fake_robot.q.copy()
    plan.write(**straight(home, home, fake_robot.stamp_ns, sequence=7))
    loop.look()
    fake_robot.run(20)
    plan.close(unlink=False)  # SIGKILL leaves the file
    plan = writer("plan")
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns, sequence=1))
    loop.look()
    fake_robot.run(1400)
    assert np.abs(fake_robot.q - home - OFFSET).max() < 0.002


def test_safety_stop_brakes_and_the_old_plan_is_not_resumed(fake_robot, start_loop, writer, straight) -> None:
    loop, plan, safety = start_loop(), writer("plan"), writer("safety")
    home = fake_robot.q.copy()
    beat(safety)
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns))
    loop.look()
    fake_robot.run(400)
    beat(safety, stop=1)
    fake_robot.run(400)
    status = loop.status
    assert int(status["mode"]) == STOP
    assert int(status["limits_acting"]) >> LIMITS.index("safety_stop") & 1
    held = fake_robot.q.copy()
    assert np.abs(held - home - OFFSET).max() > 0.05  # it stopped on the way
    beat(safety, stop=0)
    fake_robot.run(1000)
    assert np.abs(fake_robot.q - held).max() < 0.005
    assert int(loop.status["mode"]) == HOLD


def test_lost_heartbeat_stops(fake_robot, start_loop, writer, straight) -> None:
    loop, plan, safety = start_loop(), writer("plan"), writer("safety")
    home = fake_robot.q.copy()
    beat(safety)
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns))
    loop.look()
    fake_robot.run(100)
    assert int(loop.status["mode"]) == TRACK
    beat(safety, age_s=61.0)
    fake_robot.run(5)
    assert int(loop.status["mode"]) == STOP


def test_waits_for_the_first_heartbeat_when_a_monitor_is_required(fake_robot, start_loop, writer, straight) -> None:
    loop, plan = start_loop(require_safety_monitor=True), writer("plan")
    home = fake_robot.q.copy()
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns))
    loop.look()
    fake_robot.run(300)
    assert int(loop.status["mode"]) == STOP
    assert np.abs(fake_robot.q - home).max() < 0.001
    beat(writer("safety"))
    loop.look()
    fake_robot.run(5)
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns, sequence=2))
    fake_robot.run(100)
    assert int(loop.status["mode"]) == TRACK


def test_plans_from_before_a_reset_of_the_world_are_void(fake_robot, start_loop, writer, straight) -> None:
    loop, plan = start_loop(), writer("plan")
    home = fake_robot.q.copy()
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns))
    loop.look()
    fake_robot.run(300)
    fake_robot.jump(home)
    fake_robot.run(300)
    assert np.abs(fake_robot.q - home).max() < 0.001
    plan.write(**straight(home, home - OFFSET, fake_robot.stamp_ns, sequence=2))
    fake_robot.run(1400)
    assert np.abs(fake_robot.q - home + OFFSET).max() < 0.002


def test_a_state_that_is_written_again_is_answered_without_a_second_tick(fake_robot, start_loop) -> None:
    """The simulator reminds a silent servo; a second tick of the same instant would count as a stale state."""
    loop = start_loop()
    fake_robot.run(5)
    for _ in range(3):
        fake_robot.publish()
        time.sleep(0.01)
    fake_robot.run(5)
    assert int(loop.status["limit_counts"][LIMITS.index("stale_state")]) == 0


def test_leaves_after_braking(fake_robot, start_loop, writer, straight) -> None:
    loop, plan = start_loop(stop_time_s=60.0), writer("plan")
    home = fake_robot.q.copy()
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns))
    loop.look()
    fake_robot.run(500)
    assert np.abs(fake_robot.qd).max() > 0.3
    loop.leave()
    fake_robot.run(1000, alive=lambda: loop.alive)
    assert not loop.alive
    assert np.abs(fake_robot.qd).max() < 0.02


def test_in_real_time_a_silent_robot_is_braked_and_named(link, robot, start_loop) -> None:
    box = Mailbox(link_path(link, "state"), STATE, create=True)
    state = np.zeros(1, STATE)
    state["q"][0, :7], state["stamp_ns"], state["epoch_ns"] = robot.config.home_rad, 10**9, 10**9
    box.write(state)
    try:
        loop = start_loop(state_timeout_s=0.01)
        deadline = time.monotonic() + 10.0
        while int(loop.status["mode"]) != STOP and time.monotonic() < deadline:
            time.sleep(0.005)
        assert int(loop.status["mode"]) == STOP
        assert int(loop.status["limits_acting"]) >> LIMITS.index("stale_state") & 1
        loop.leave()
    finally:
        box.close(unlink=True)


def test_process_follows_the_link_and_removes_its_mailboxes(fake_robot, link) -> None:
    servo = ServoProcess(values(link), 60.0)
    try:
        assert servo.granted["mode"] == "lockstep"
        fake_robot.run(100)
        servo.check()
    finally:
        servo.close()
    assert not link_path(link, "command").exists() and not link_path(link, "status").exists()
    with pytest.raises(LinkError, match="ended with code 0"):
        servo.check()


def test_process_without_a_robot_says_so(link) -> None:
    with pytest.raises(LinkError, match="nothing in mailbox"):
        ServoProcess({**values(link), "link_timeout_s": 0.1}, 60.0)


def test_a_robot_file_that_allows_more_than_the_robot_takes_is_refused(link, robot, writer) -> None:
    """Regression: the limits of the robot file were compared with themselves."""
    q, torque_nm = robot.config.home_rad, robot.config.torque_nm
    state = {"q": q, "lockstep": 1, "torque_limit": 0.9 * torque_nm, "gripper_force_limit": 100.0}
    writer("state").write(**state)
    with pytest.raises(LinkError, match=r"ended with code 2 .*torque limits.*lower them in config/robots/panda\.yaml"):
        ServoProcess(values(link), 60.0)


def test_process_ends_with_its_owner(fake_robot, link) -> None:
    """No orphan: the owner is killed outright, the loop brakes, ends and tidies up."""
    script = (
        "import json, sys, time\n"
        "from vla_control.servo_process import ServoProcess\n"
        "servo = ServoProcess(json.loads(sys.argv[1]), 60.0)\n"
        "print(servo.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, json.dumps(values(link))], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 20.0
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    assert not link_path(link, "command").exists() and not link_path(link, "status").exists()
