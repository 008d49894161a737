"""The servo loop against a robot in lockstep: follows, holds when others die, stops, ends cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pinocchio as pin
import pytest

from vla_control.core.parameters import ServoParameters
from vla_control.core.servo import ServoCore
from vla_control.hardware.protocol import HardwareLimits
from vla_control.servo_loop import LoopParameters, ServoLoop
from vla_control.servo_process import ServoProcess
from vla_core.errors import LinkError
from vla_core.peer import Peer
from vla_core.records import COMPLIANCE, LIMITS, MODES, STATE, STATUS
from vla_core.shared_memory import Mailbox, link_path

HOLD, TRACK, STOP = (MODES.index(name) for name in ("hold", "track", "stop"))
OFFSET = np.array([0.3, -0.2, 0.2, 0.25, -0.3, 0.2, 0.4])


def values(link: str) -> dict[str, object]:
    """What servo_node hands to the loop."""
    params = ServoParameters.from_config()
    return {name: getattr(params, name) for name in params.__slots__} | {
        "link": link, "robot": "panda", "state_timeout_s": 0.05, "safety_timeout_s": 0.5, "stop_time_s": 1.0,
        "require_safety_monitor": False, "rt_priority": 0, "link_timeout_s": 60.0,
        "free_wait_s": 0.0,
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
    assert float(status["gripper_target"][0]) == pytest.approx(0.04)


def test_settings_are_followed_while_the_arm_moves_and_stay_when_their_writer_dies(
    fake_robot, start_loop, writer, straight
) -> None:
    loop, plan, settings = start_loop(), writer("plan"), writer("settings")
    home = fake_robot.q.copy()
    loop.look()
    fake_robot.run(10)
    assert (float(loop.status["joint_share"]), float(loop.status["stiffness"])) == (0.0, 1.0)
    plan.write(**straight(home, home + OFFSET, fake_robot.stamp_ns))
    settings.write(compliance=COMPLIANCE.index("joint"), stiffness=0.5, force=0.5)
    loop.look()
    fake_robot.run(700)
    settings.close()
    loop.look()
    fake_robot.run(800)
    assert float(loop.status["joint_share"]) == 1.0
    assert float(loop.status["stiffness"]) == pytest.approx(0.5, abs=1e-3)
    assert np.abs(fake_robot.q - home - OFFSET).max() < 0.002


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


class LiveArm:
    """An arm in real time, as `Hardware`: forward dynamics under the newest torque; `mute` between two of its times.

    Attributes:
        log: (time [s], largest true joint speed [rad/s], copy of STATUS) of every look that the loop takes.
    """

    mode = "real_time"

    def __init__(self, robot, link: str, mute_s: tuple[float, float], end_s: float) -> None:
        self.limits = HardwareLimits(robot.config.torque_nm, robot.config.gripper_force_n)
        self.state = np.zeros(1, STATE)
        self.log: list[tuple[float, float, np.void]] = []
        self.loop: ServoLoop | None = None
        self.at: dict[float, object] = {}  # what is to be called when
        self._model, self._data, self._damping = robot.model, robot.model.createData(), robot.damping_nm_s
        self._q, self._qd, self._mute_s, self._end_s = np.array(robot.config.home_rad), np.zeros(7), mute_s, end_s
        self._tau, self._time_s, self._began_s = np.zeros(7), 0.0, 0.0
        self._status = Peer(link, "status", STATUS)
        self._show()

    def read(self) -> bool:
        if self._began_s == 0.0:
            self._began_s = time.monotonic()
            return True
        while self._time_s + 1e-3 <= time.monotonic() - self._began_s:
            tau = self._tau - self._damping * self._qd
            self._qd = self._qd + 1e-3 * pin.aba(self._model, self._data, self._q, self._qd, tau)
            self._q = self._q + 1e-3 * self._qd
            self._time_s += 1e-3
        for due_s in [s for s in self.at if s <= self._time_s]:
            self.at.pop(due_s)()
        self._status.poll()
        self.log.append((self._time_s, float(np.abs(self._qd).max()), self._status.record[0].copy()))
        if self._time_s >= self._end_s:
            self.loop.leave()
        if self._mute_s[0] <= self._time_s < self._mute_s[1]:
            return False
        self._show()
        return True

    def write(self, command: np.ndarray) -> None:
        self._tau = command["tau"][0, :7].copy()

    def refresh(self) -> None:
        self._status.refresh()

    def close(self) -> None:
        self._status.close()

    def _show(self) -> None:
        stamp_ns = 10**9 + round(self._time_s * 1e9)
        self.state["stamp_ns"], self.state["tick"], self.state["epoch_ns"] = stamp_ns, round(self._time_s * 1e3), 10**9
        self.state["q"][0, :7], self.state["qd"][0, :7] = self._q, self._qd


def test_regression_in_real_time_a_moving_arm_whose_states_end_comes_to_rest(link, robot, writer, straight) -> None:
    """Torque and target froze: in 0.6 s the arm sped up from 0.75 to 1.7 rad/s, and a stop changed nothing."""
    plan, safety = writer("plan"), writer("safety")
    beat(safety)
    arm = LiveArm(robot, link, mute_s=(0.35, 1.2), end_s=1.7)
    home = np.array(robot.config.home_rad)
    plan.write(**straight(home, home + OFFSET, 10**9))
    arm.at[0.9] = lambda: beat(safety, stop=1)
    arm.at[1.1] = lambda: beat(safety, stop=0)
    params = replace(ServoParameters.from_config(), stale_state_s=0.3)  # a busy machine's hiccups aren't the subject
    changes = {"state_timeout_s": 0.05, "safety_timeout_s": 60.0, "period_s": 0.001}
    loop = ServoLoop(arm, ServoCore(robot, params), link, LoopParameters.from_mapping({**values(link), **changes}))
    arm.loop = loop
    try:
        loop.run()
    finally:
        loop.close()
        arm.close()

    def between(start_s: float, end_s: float) -> list[tuple[float, float, np.void]]:
        return [entry for entry in arm.log if start_s <= entry[0] < end_s]

    speed = between(0.0, 0.35)[-1][1]
    assert speed > 0.3 and int(between(0.0, 0.35)[-1][2]["mode"]) == TRACK
    assert max(entry[1] for entry in between(0.35, 1.2)) < 1.5 * speed
    assert max(entry[1] for entry in between(1.0, 1.2)) < 0.25 * speed
    stale, stopped = (1 << LIMITS.index(name) for name in ("stale_state", "safety_stop"))
    for at_s, stop in ((0.7, 0), (1.0, stopped)):
        status = between(at_s, 1.2)[0][2]
        assert int(status["mode"]) == STOP and int(status["limits_acting"]) & (stale | stopped) == stale | stop
    blind, seen = between(1.0, 1.2)[-1], between(1.2, 1.7)[5]
    # where the prediction was right to 10 mrad the target goes on, else it begins where the arm is
    jump, apart = (np.abs(seen[2]["q_target"] - q).max() for q in (blind[2]["q_target"], seen[2]["q"]))
    assert min(jump, apart) < 1e-3 and apart < 0.01 + blind[1] * (seen[0] - blind[0])
    last = between(1.5, 1.7)[-1]
    assert int(last[2]["mode"]) == HOLD and last[1] < 0.1  # the plan isn't resumed
    assert not last[2]["qd_target"].any()


def test_regression_in_real_time_a_loop_that_was_held_up_brakes(link, robot, writer, straight) -> None:
    """A robot that stands still while it gets no command stops its clock too: the plan went on in the middle."""
    plan, safety = writer("plan"), writer("safety")
    beat(safety)
    arm = LiveArm(robot, link, mute_s=(9.0, 9.0), end_s=1.0)
    home = np.array(robot.config.home_rad)
    plan.write(**straight(home, home + OFFSET, 10**9))

    def hold_up() -> None:
        time.sleep(0.5)
        arm._began_s += 0.5  # its clock stood

    arm.at[0.35] = hold_up
    params = replace(ServoParameters.from_config(), stale_state_s=0.3)
    changes = {"state_timeout_s": 0.3, "safety_timeout_s": 60.0, "period_s": 0.001}
    loop = ServoLoop(arm, ServoCore(robot, params), link, LoopParameters.from_mapping({**values(link), **changes}))
    arm.loop = loop
    try:
        loop.run()
    finally:
        loop.close()
        arm.close()
    before, after = ([row for s, _, row in arm.log if (s < 0.35) is early] for early in (True, False))
    assert int(before[-1]["mode"]) == TRACK
    assert STOP in {int(row["mode"]) for row in after} and TRACK not in {int(row["mode"]) for row in after[5:]}
    assert not after[-1]["qd_target"].any() and arm.log[-1][1] < 0.1
    assert max(speed for _, speed, _ in arm.log) < 2.0 * max(float(np.abs(row["qd"]).max()) for row in before)


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
    state = {"q": q, "lockstep": 1, "torque_limit": 0.9 * torque_nm, "gripper_force_limit": np.full(1, 100.0)}
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
