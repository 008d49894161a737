"""ServoCore on a moving arm whose states end, aren't numbers, or whose clock jumps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.target import implied_jerk
from vla_core.records import LIMITS, MODES
from vla_core.types import ActionChunk

MS = 1_000_000
HOLD, TRACK, STOP = (MODES.index(name) for name in ("hold", "track", "stop"))
MakeChunk = Callable[..., ActionChunk]


@pytest.fixture
def moving(robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk, make_rig: Callable) -> Callable[..., Any]:
    """Rig in the middle of a motion of 0.35 m/s along `reach`."""

    def make(reach: tuple[float, float, float] = (0.07, 0.13, -0.07)) -> Any:
        rig = make_rig()
        rig.follow(executor)
        rig.run(20)
        start_on(rig, executor, make_chunk, reach, 1)
        rig.run(330)
        assert rig.speed[-1] > 0.3 and int(rig.log[-1]["mode"][0]) == TRACK
        return rig

    return make


def start_on(rig: Any, executor: ChunkExecutor, make_chunk: MakeChunk, reach: Any, sequence: int) -> None:
    """Give the rig a new motion from where its target is."""
    now_ns = rig.now_ns + rig.skew_ns
    home = rig.servo.robot.tool_pose(executor.sample(now_ns).q_rad)[0]
    s = np.clip((0.05 * np.arange(20) - 0.05) / 0.85, 0.0, 1.0)[:, None]
    positions = home + (10 * s**3 - 15 * s**4 + 6 * s**5) * np.asarray(reach)
    executor.accept(make_chunk(positions, now_ns - MS, sequence), now_ns)
    rig.follow(executor)


def assert_smooth(rig: Any, start: int, end: int | None = None) -> None:
    """Neither target nor torque has jumped from tick `start` to before tick `end`, and max_jerk says so."""
    config, count = rig.servo.robot.config, None if end is None else end - start
    q_target, qdd_target = (rig.column(name, start)[:count, :7] for name in ("q_target", "qdd_target"))
    assert np.all(np.abs(np.diff(q_target, axis=0)) <= 1e-3 * config.velocity_rad_s)
    qdd_step = np.abs(np.diff(qdd_target, axis=0))
    assert qdd_step.max() < 1.01e-3 * config.jerk_rad_s3.max()
    assert rig.log[-1]["max_jerk"][0] < 1.01 * config.jerk_rad_s3.max()
    assert_torque_smooth(rig, start)


def assert_torque_smooth(rig: Any, start: int) -> None:
    """The torque has kept to its rate since tick `start`."""
    tau_step = np.abs(np.diff(rig.column("tau", start)[:, :7], axis=0))
    assert np.all(tau_step <= 1e-3 * rig.servo.robot.config.torque_rate_nm_s + 1e-9)


def assert_waits_and_goes_on(rig: Any, executor: ChunkExecutor, make_chunk: MakeChunk) -> None:
    """The stop shows for 0.1 s at least, the old plan stays dead, a new one is followed."""
    back = len(rig.log)
    rig.run(1000)
    modes = rig.column("mode", back)
    assert (modes[:100] == STOP).all() and modes[-1] == HOLD and TRACK not in modes
    assert np.abs(rig.column("qd_target", back + 300)).max() == 0.0 and rig.speed[-1] < 0.01
    held = rig.log[-1]["q_target"][0, :7].copy()
    executor.reset(held, np.array([0.04]), rig.now_ns + rig.skew_ns)
    rig.follow(executor)
    rig.run(5)
    start_on(rig, executor, make_chunk, (0.0, 0.0, 0.05), 2)
    rig.run(1600)
    want, got = executor.sample(rig.now_ns + rig.skew_ns).q_rad, rig.data.qpos[:7]
    assert np.abs(want - held).max() > 0.03
    np.testing.assert_allclose(got, want, atol=0.005)


@pytest.mark.parametrize("reach", [(0.07, 0.13, -0.07), (0.03, -0.07, 0.14), (0.0, 0.07, -0.15)])
def test_regression_an_arm_whose_states_end_comes_to_rest(
    executor: ChunkExecutor, make_chunk: MakeChunk, moving: Callable, reach: tuple[float, float, float]
) -> None:
    """The same old state was answered again: torque and target froze, and the arm sped up until something broke."""
    rig = moving(reach)
    last = rig.log[-1].copy()
    rig.deaf = True
    rig.run(50)
    rig.deaf, rig.blind = False, True
    lost, speed = len(rig.log), rig.speed[-1]
    rig.run(1000)
    status = rig.log[-1]
    assert max(rig.speed[lost:]) < 1.05 * speed
    assert max(rig.speed[lost + 600 :]) < 0.1 * speed
    assert set(rig.column("mode", lost).tolist()) == {STOP}
    assert int(status["limit_counts"][0, LIMITS.index("stale_state")]) == 1000
    assert not status["limit_counts"][0, LIMITS.index("safety_stop")]
    for name in ("q", "qd", "tool_pose", "wrench", "stamp_ns", "error_m"):  # what was measured, not what is believed
        np.testing.assert_array_equal(status[name], last[name])
    rig.blind = False
    assert_waits_and_goes_on(rig, executor, make_chunk)
    assert_smooth(rig, 0)


def test_regression_a_stop_acts_and_is_named_while_states_are_missing(moving: Callable) -> None:
    rig = moving()
    rig.blind = rig.stop = True
    rig.run(600)
    assert rig.acted("safety_stop") == rig.acted("stale_state") == 600
    assert not rig.log[-1]["qd_target"].any() and rig.speed[-1] < 0.05


def test_states_that_return_from_a_robot_that_stood_still_are_joined_without_a_jump(
    executor: ChunkExecutor, make_chunk: MakeChunk, moving: Callable
) -> None:
    """A paused world: its clock has not moved, the servo's has. The target goes to the arm, which feels no jump."""
    rig = moving()
    pose = rig.data.qpos.copy(), rig.data.qvel.copy()
    lost, stamp_ns, speed = len(rig.log), rig.now_ns, rig.speed[-1]
    rig.blind = True
    rig.run(200)
    rig.data.qpos[:], rig.data.qvel[:] = pose
    rig.blind, rig.skew_ns, back = False, stamp_ns - rig.now_ns, len(rig.log)
    assert_waits_and_goes_on(rig, executor, make_chunk)
    assert_smooth(rig, lost, back)
    assert_smooth(rig, back)
    np.testing.assert_array_equal(rig.column("q_target")[back, :7], pose[0][:7])
    np.testing.assert_allclose(rig.column("qd_target")[back, :7], pose[1][:7], rtol=1e-12)
    assert max(rig.speed[back:]) < 1.05 * speed


def test_regression_a_world_that_stood_still_finds_the_torque_near_what_it_needs(
    executor: ChunkExecutor, make_chunk: MakeChunk, moving: Callable
) -> None:
    """A loop that noticed late predicted 0.8 s under one torque, ended anywhere, and pushed with 75 N*m too many."""
    rig = moving()
    pose, torque = (rig.data.qpos.copy(), rig.data.qvel.copy()), rig.command["tau"][0, :7].copy()
    lost, speed, stamp_ns = len(rig.log), rig.speed[-1], rig.now_ns
    rig.deaf = True
    rig.run(800)
    rig.deaf, rig.blind = False, True
    rig.run(700)
    assert np.abs(rig.command["tau"][0, :7] - torque).max() < 15.0
    rig.data.qpos[:], rig.data.qvel[:] = pose
    rig.blind, rig.skew_ns, back = False, stamp_ns - rig.now_ns, len(rig.log)
    assert_waits_and_goes_on(rig, executor, make_chunk)
    assert max(rig.speed[back:]) < 1.1 * speed
    assert_torque_smooth(rig, lost)


def test_regression_300_ms_without_numbers_do_not_make_the_target_jump(
    executor: ChunkExecutor, make_chunk: MakeChunk, moving: Callable
) -> None:
    """The target stood still for 300 ms, then was where the plan was by then: 0.4 rad in one tick."""
    rig = moving()
    lost, speed = len(rig.log), rig.speed[-1]
    rig.corrupt = True
    rig.run(300)
    assert rig.acted("non_finite_input") == 300 and rig.acted("safety_stop") == 0
    assert set(rig.column("mode", lost + 21).tolist()) == {STOP}
    assert max(rig.speed[lost:]) < 1.2 * speed and rig.speed[-1] < 0.3 * speed
    rig.corrupt = False
    assert_waits_and_goes_on(rig, executor, make_chunk)
    assert_smooth(rig, 0)


def test_a_few_states_without_numbers_do_not_interrupt_the_motion(executor: ChunkExecutor, moving: Callable) -> None:
    rig = moving()
    rig.corrupt = True
    rig.run(15)
    rig.corrupt = False
    rig.run(1200)
    assert STOP not in rig.column("mode")
    assert rig.column("error_m").max() < 1e-3
    np.testing.assert_allclose(rig.data.qpos[:7], executor.sample(rig.now_ns).q_rad, atol=0.002)
    assert_smooth(rig, 0)


@pytest.mark.parametrize("jump_ms", [500, 30])
def test_regression_a_clock_that_jumps_ahead_does_not_make_the_target_jump(
    executor: ChunkExecutor, make_chunk: MakeChunk, moving: Callable, jump_ms: int
) -> None:
    rig = moving()
    rig.skew_ns = jump_ms * MS
    assert_waits_and_goes_on(rig, executor, make_chunk)
    assert rig.acted("stale_state") == 1
    assert_smooth(rig, 0)


@pytest.mark.parametrize("sequence", [0, 5])
@pytest.mark.parametrize("field", ["q", "qd", "qdd", "gripper_width", "gripper_force", "knot_dt_s"])
def test_regression_a_plan_that_is_not_a_number_is_refused(moving: Callable, sequence: int, field: str) -> None:
    """A plan of sequence 0 was adopted, for NaN isn't far from the robot; the torque was NaN from then on."""
    rig = moving()
    good = rig.plan.copy()
    rig.plan["sequence"], rig.plan["start_ns"] = sequence, rig.now_ns
    rig.plan[field][0] = np.nan
    rig.run(10)
    assert rig.acted("non_finite_input") == 1
    assert set(rig.column("mode")[-10:].tolist()) == {TRACK}  # the running plan goes on
    rig.plan[:] = good
    rig.plan["answers_ns"] += 1
    rig.run(1200)
    assert np.isfinite(rig.column("tau")).all() and rig.column("error_m").max() < 2e-3


@pytest.mark.parametrize("value", [1e300, 1e155, -1e200])
def test_regression_no_torque_leaves_that_is_not_a_number(
    executor: ChunkExecutor, make_chunk: MakeChunk, moving: Callable, value: float
) -> None:
    """Finite and absurd: the clamps compared NaN with their bound, which is never larger."""
    rig = moving()
    tick, absurd = rig.servo.tick, int(rig.now_ns // MS)

    def tick_absurd(state: np.ndarray, *rest: Any) -> None:
        if absurd <= int(state["tick"][0]) < absurd + 5:
            state["qd"][0, 1] = value
        tick(state, *rest)

    rig.servo.tick = tick_absurd
    rig.run(5)
    assert rig.acted("non_finite_input") == 5
    assert_waits_and_goes_on(rig, executor, make_chunk)
    assert np.isfinite(rig.column("tau")).all() and np.isfinite(rig.column("wrench", absurd + 5)).all()
    assert_smooth(rig, 0)


def test_regression_a_robot_whose_first_states_are_not_numbers_starts_with_the_first_that_is(
    robot: RobotModel, make_rig: Callable
) -> None:
    rig = make_rig()
    rig.corrupt = True
    rig.run(3)
    assert not rig.column("tau").any()
    rig.blind = True
    rig.run(3)
    rig.corrupt = rig.blind = False
    rig.run(500)
    assert np.isfinite(rig.column("tau")).all() and rig.speed[-1] < 0.01


def test_regression_max_jerk_counts_a_jump_of_the_position() -> None:
    """Only the change of the acceleration was counted, divided by however long the gap was."""
    q, qd, qdd = np.array([0.3, 0.1]), np.array([0.5, 0.0]), np.array([1.0, 0.0])
    jerk, t = 400.0, 1e-3
    motion = q + t * qd + t**2 * qdd / 2 + t**3 * jerk / 6, qd + t * qdd + t**2 * jerk / 2, qdd + t * jerk
    assert implied_jerk(*motion, q, qd, qdd, t, t) == pytest.approx(jerk)
    jumped = (motion[0] + [0.0, 0.4], *motion[1:])
    assert implied_jerk(*jumped, q, qd, qdd, t, t) > 1e6
    stale_s = ServoParameters.from_config().stale_state_s
    assert implied_jerk(*jumped, q, qd, qdd, stale_s, t) > 1e4
    assert implied_jerk(q, qd, qdd, q, qd, qdd, 0.0, t) == 0.0  # the same instant again
