"""Chunks become one smooth, time-aligned motion within every limit, or are refused with a reason.

What streams of them make of the servo's target: test_executor_streams.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.ik import ChunkIk
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_core.contract import Contract
from vla_core.errors import ChunkError
from vla_core.types import ActionChunk, Float64

MS = 1_000_000
MakeChunk = Callable[..., ActionChunk]


def _sweep(robot: RobotModel, start_s: float, steps: int = 20, dt_s: float = 0.05) -> Float64:
    """Tool positions (T,3) on a smooth curve that begins at the home pose with zero speed."""
    home, _ = robot.tool_pose(robot.config.home_rad)
    t = start_s + dt_s * np.arange(steps)[:, None]
    return home + np.concatenate([0.03 * (np.cos(2 * t) - 1), 0.12 * (1 - np.cos(1.5 * t)), -0.08 * (1 - np.cos(t))], 1)


def _turned_within(robot: RobotModel, turn_rad: float) -> tuple[Float64, Float64]:
    """The tool where it is at home, with joint 0 turned: joints (7,) [rad] and the tool's quaternion (4,) xyzw."""
    position, quaternion = robot.tool_pose(robot.config.home_rad)
    solver, start = ChunkIk(robot, ExecutorParameters.from_config()), robot.config.home_rad.copy()
    start[0] += turn_rad
    return solver.solve(position[None], quaternion[None], start, 0.0).q_rad[0], quaternion


def _play(executor: ChunkExecutor, start_ns: int, end_ns: int, step_ns: int = MS) -> tuple[Float64, Float64, Float64]:
    targets = [executor.sample(t) for t in range(start_ns, end_ns, step_ns)]
    q, qd, qdd = ([getattr(t, name) for t in targets] for name in ("q_rad", "qd_rad_s", "qdd_rad_s2"))
    return np.array(q), np.array(qd), np.array(qdd)


def test_step_i_is_reached_at_stamp_plus_i_dt(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk
) -> None:
    """Also when the answers come 150 ms after their observations: alignment is by capture stamps."""
    for k in range(6):
        stamp_ns = k * 400 * MS + MS
        executor.accept(make_chunk(_sweep(robot, stamp_ns * 1e-9), stamp_ns, k + 1), stamp_ns + 150 * MS)
        if k < 2:
            continue
        for t in range(stamp_ns + 300 * MS, stamp_ns + 500 * MS, 10 * MS):
            wanted = _sweep(robot, t * 1e-9, 1)[0]
            np.testing.assert_allclose(robot.tool_pose(executor.sample(t).q_rad)[0], wanted, atol=1e-3)
    assert executor.state(3 * 10**9).late_joins == 0


def test_waiting_for_rest_passes_over_what_was_seen_in_motion(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk
) -> None:
    """A chunk from a picture taken in motion begins where the arm was then: it would step back along its path."""
    executor.use("synchronous")
    path = _sweep(robot, 0.0)
    assert executor.accept(make_chunk(path, MS), 10 * MS)
    assert not executor.accept(make_chunk(path[2:], 101 * MS, 2), 250 * MS)
    assert executor.state(250 * MS).sequence == 1 and not executor.state(250 * MS).last_error
    end_ms = next(t for t in range(300, 2000) if executor.at_rest(t * MS))
    there = robot.tool_pose(executor.sample(end_ms * MS).q_rad)[0]
    assert executor.accept(make_chunk(there + path - path[0], (end_ms + 1) * MS, 3), (end_ms + 200) * MS)
    rows = np.array([executor.sample(t * MS).q_rad for t in range(end_ms + 200, end_ms + 800, 10)])
    along = np.array([robot.tool_pose(q)[0] for q in rows]) @ (path[-1] - path[0])
    assert np.diff(along).min() > -1e-5, "never a step backward"


def test_without_a_new_chunk_the_arm_comes_to_rest_and_says_so(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk
) -> None:
    executor.accept(make_chunk(_sweep(robot, 0.0), MS), 50 * MS)
    modes = [executor.state(t * MS).mode for t in (100, 900, 1000, 3000)]
    assert modes == ["tracking", "tracking", "finishing", "holding"]
    target = executor.sample(3000 * MS)
    assert not target.qd_rad_s.any() and not target.qdd_rad_s2.any()
    assert executor.state(3000 * MS).starved_s == pytest.approx(3.0 - 0.951, abs=0.02)
    executor.accept(make_chunk(_sweep(robot, 0.5), 3000 * MS, 2), 3050 * MS)
    assert executor.state(3100 * MS).starved_s == pytest.approx(3.05 - 0.951, abs=0.02)


def test_motion_within_the_commit_time_is_never_changed(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk
) -> None:
    """A servo that reads the new plan a little late finds nothing amiss."""
    executor.accept(make_chunk(_sweep(robot, 0.0), MS), 50 * MS)
    before = _play(executor, 400 * MS, 420 * MS)
    executor.accept(make_chunk(_sweep(robot, 0.35) + 0.03, 350 * MS, 2), 400 * MS)
    after = _play(executor, 400 * MS, 420 * MS)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, atol=1e-9)
    assert executor.state(400 * MS).committed_s == pytest.approx(0.02, abs=0.0101)


def _rejection(executor: ChunkExecutor, chunk: ActionChunk, now_ns: int) -> str:
    plan = executor.plan.copy()
    with pytest.raises(ChunkError) as caught:
        executor.accept(chunk, now_ns)
    assert np.array_equal(plan, executor.plan)
    state = executor.state(now_ns)
    assert state.last_error == str(caught.value) and state.chunks_rejected >= 1
    assert all(part in state.last_error for part in ("got ", "; expected ", "; fix: "))
    return state.last_error


def test_unfit_chunks_are_refused_whole_with_a_reason(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk
) -> None:
    good = make_chunk(_sweep(robot, 0.0), 1000 * MS, 7)
    executor.accept(good, 1050 * MS)
    newer = replace(good, stamp_ns=1300 * MS, sequence=8)
    now = 1350 * MS
    nan = newer.actions.copy()
    nan[3, 2] = np.nan
    squashed = newer.actions.copy()
    squashed[:, 3:7] *= 0.5
    far = newer.actions.copy()
    far[12, 0] += 2.0
    cases = {
        "step 3, z": replace(newer, actions=nan),
        r"actions (20, 7)": replace(newer, actions=newer.actions[:, :7]),
        r"actions (1, 8)": replace(newer, actions=newer.actions[:1]),
        r"actions (40, 8)": replace(newer, actions=np.tile(newer.actions, (2, 1))),
        "contract 0123": replace(newer, contract_hash="0123"),
        "action space 'joint_position'": replace(newer, action_space="joint_position"),
        "['y', 'x'": replace(newer, action_names=("y", "x", *newer.action_names[2:])),
        "dt_s = 0.1": replace(newer, dt_s=0.1),
        "dt_s = nan": replace(newer, dt_s=float("nan")),
        "older than or as old": replace(newer, stamp_ns=good.stamp_ns),
        "ahead of now": replace(newer, stamp_ns=2000 * MS),
        "quaternion of length 0.50": replace(newer, actions=squashed),
        "out of reach": replace(newer, actions=far),
    }
    for part, chunk in cases.items():
        assert part in _rejection(executor, chunk, now)
    assert "age" in _rejection(executor, newer, 1300 * MS + 1100 * MS)
    assert "last step was due" in _rejection(executor, newer, 1300 * MS + 980 * MS)
    assert executor.state(now).chunks_rejected == len(cases) + 2
    executor.accept(newer, now)
    assert executor.state(now).last_error == "" and executor.state(now).sequence == 8


def test_chunk_beyond_the_speed_limits_is_refused_or_slowed_down(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk
) -> None:
    home, _ = robot.tool_pose(robot.config.home_rad)
    t = 0.05 * np.arange(20)[:, None]
    fast = home + np.concatenate([0 * t, 0.18 * np.sin(9 * t), 0 * t], 1)
    executor.accept(make_chunk(fast, MS, 1), 10 * MS)
    assert executor.state(10 * MS).chunks_stretched == 1
    wild = home + np.concatenate([0 * t, 0.3 * np.sign(np.sin(20 * t)), 0 * t], 1)
    with pytest.raises(ChunkError, match="times faster than the joint limits allow"):
        executor.accept(make_chunk(wild, 2 * MS, 2), 20 * MS)


def test_no_chunk_is_taken_before_the_posture_is_known(
    robot: RobotModel, contract: Contract, make_chunk: MakeChunk
) -> None:
    executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
    with pytest.raises(ChunkError, match="before the first joint state"):
        executor.accept(make_chunk(_sweep(robot, 0.0), MS), 10 * MS)
    assert executor.plan["count"][0] == 0 and executor.state(0).mode == "idle"


def test_stop_brakes_and_lasts_until_reset(robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk) -> None:
    executor.accept(make_chunk(_sweep(robot, 0.0), MS), 50 * MS)
    executor.stop(600 * MS)
    q, qd, qdd = _play(executor, 600 * MS, 1600 * MS)
    assert np.abs(qd[0]).max() > 0.05 and not qd[-1].any()
    assert np.all(np.abs(np.diff(qdd, axis=0)) <= 1.01e-3 * robot.config.jerk_rad_s3)
    later = make_chunk(_sweep(robot, 0.6), 700 * MS, 2)
    with pytest.raises(ChunkError, match="while stopped"):
        executor.accept(later, 750 * MS)
    assert executor.state(750 * MS).mode == "stopped"
    executor.reset(q[-1], np.array([0.08]), 1700 * MS)
    executor.accept(replace(later, stamp_ns=1700 * MS), 1750 * MS)
    assert executor.state(1800 * MS).mode == "tracking"


def test_gripper_follows_the_chunk_by_time(robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk) -> None:
    opening = np.r_[np.ones(10), np.full(10, 0.25)]
    executor.accept(make_chunk(_sweep(robot, 0.0), MS, 1, opening), 20 * MS)
    widths = [executor.sample(t * MS).gripper_width_m[0] for t in (100, 480, 520, 2000)]
    np.testing.assert_allclose(widths, [0.08, 0.08, 0.02, 0.02])


def test_binary_gripper_ignores_hesitation(robot: RobotModel, contract: Contract, make_chunk: MakeChunk) -> None:
    params = replace(ExecutorParameters.from_config(), gripper_mode="binary")
    executor = ChunkExecutor(robot, contract, params)
    executor.reset(robot.config.home_rad, np.array([0.08]), 0)
    opening = np.r_[np.full(8, 0.45), np.full(4, 0.3), np.full(8, 0.55)]
    executor.accept(make_chunk(_sweep(robot, 0.0), MS, 1, opening), 20 * MS)
    widths = [executor.sample(t * MS).gripper_width_m[0] for t in (100, 380, 420, 900)]
    np.testing.assert_allclose(widths, [0.08, 0.08, 0.0, 0.0])


def test_joint_chunks(robot: RobotModel, contract: Contract) -> None:
    config = robot.config
    joints = replace(contract, action_space="joint_position", action_names=(*config.joints, "gripper"))
    executor = ChunkExecutor(robot, joints, ExecutorParameters.from_config())
    executor.reset(config.home_rad, np.array([0.08]), 0)
    t = 0.05 * np.arange(20)[:, None]
    actions = np.concatenate([config.home_rad + 0.2 * (1 - np.cos(2 * t)) * np.ones(7), np.ones_like(t)], 1)
    chunk = ActionChunk(
        MS, 1, "test", joints.hash, "joint_position", joints.action_names, joints.dt_s, actions.astype(np.float32)
    )
    executor.accept(chunk, 20 * MS)
    np.testing.assert_allclose(executor.sample(501 * MS).q_rad, actions[10, :7], atol=2e-3)
    with pytest.raises(ChunkError, match="beyond the joint limits, or in collision, by"):
        executor.accept(replace(chunk, stamp_ns=2 * MS, actions=chunk.actions + np.float32(3.0)), 30 * MS)


@settings(max_examples=25, deadline=None)
@given(after=st.integers(2, 12), delay_ms=st.integers(0, 450), jump_m=st.floats(0.0, 0.1))
def test_a_chunk_that_continues_what_runs_takes_over_without_a_seam(
    robot: RobotModel, contract: Contract, make_chunk: MakeChunk, after: int, delay_ms: int, jump_m: float
) -> None:
    """What RTC relies on: the steps that are told to the policy are those that the arm follows, also during a blend."""
    executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
    executor.reset(robot.config.home_rad, np.array([0.08]), 0)
    executor.accept(make_chunk(_sweep(robot, 0.0) + [jump_m, 0.0, 0.0], MS), 120 * MS)
    running = executor.running()
    assert running.fresh == 20 and len(running.actions) == 40
    stamp_ns = running.origin_ns + after * 50 * MS
    continued = running.actions[after : after + 20]
    chunk = make_chunk(continued[:, :3], stamp_ns, 2)
    executor.accept(replace(chunk, actions=continued), max(stamp_ns, 130 * MS) + delay_ms * MS)
    most_rad = 4e-3 + 0.04 * jump_m  # rows 50 ms apart can't tell every turn of a brake, or of a blend over 10 cm
    assert np.abs(executor.state(stamp_ns).seam_rad).max() < most_rad


@settings(max_examples=25, deadline=None)
@given(delay_ms=st.integers(60, 300), error_m=st.floats(0.0, 0.05))
def test_a_chunk_that_errs_where_it_should_continue_joins_nearly_without_a_seam(
    robot: RobotModel, contract: Contract, make_chunk: MakeChunk, delay_ms: int, error_m: float
) -> None:
    """An answer later than told is free where it takes over; an executor that fades it in must not jump there."""
    seams = {}
    for strategy in ("naive_async", "rtc_prefix"):
        executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
        executor.use(strategy)
        executor.reset(robot.config.home_rad, np.array([0.08]), 0)
        executor.accept(make_chunk(_sweep(robot, 0.0), MS), 120 * MS)
        stamp_ns = 301 * MS
        executor.accept(make_chunk(_sweep(robot, 0.3) + [0.0, error_m, 0.0], stamp_ns, 2), stamp_ns + delay_ms * MS)
        seams[strategy] = float(np.abs(executor.state(stamp_ns).seam_rad).max())
    assert seams["rtc_prefix"] < 2e-4 + 0.02 * seams["naive_async"]
    assert seams["naive_async"] > 0.8 * error_m, "the two would differ"


def test_a_continued_chunk_keeps_the_posture_of_a_redundant_arm(
    robot: RobotModel, contract: Contract, make_chunk: MakeChunk
) -> None:
    """Regression: the same tool poses, solved anew, led to another posture than the one in motion, 5 mrad away."""
    executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
    executor.use("rtc_prefix")
    begun, quaternion = _turned_within(robot, 0.8)
    executor.reset(begun, np.array([0.08]), 0)
    chunk = make_chunk(_sweep(robot, 0.3), MS)
    chunk.actions[:, 3:7] = quaternion
    executor.accept(chunk, 300 * MS)
    for sequence, late_ms in ((2, 400), (3, 180), (4, 510)):
        running = executor.running()
        told = running.actions[8:28]
        stamp_ns = running.origin_ns + 400 * MS
        chunk = replace(make_chunk(told[:, :3], stamp_ns, sequence), actions=told)
        executor.accept(chunk, stamp_ns + late_ms * MS)
        assert np.abs(executor.state(stamp_ns).seam_rad).max() < 3e-4


def test_delays_are_counted_and_never_estimated(robot: RobotModel, contract: Contract, make_chunk: MakeChunk) -> None:
    """A first chunk that took long (a warm-up) tells nothing; until one has been counted all steps are committed."""
    executor = ChunkExecutor(robot, contract, replace(ExecutorParameters.from_config(), delay_margin=1.5))
    executor.reset(robot.config.home_rad, np.array([0.08]), 0)
    assert executor.running().delay_steps == 0 and executor.running().fresh == 0
    executor.accept(make_chunk(_sweep(robot, 0.0), MS), 900 * MS)
    assert executor.running().delay_steps == 20
    executor.accept(make_chunk(_sweep(robot, 0.5), 900 * MS, 2), 1000 * MS)  # 2 steps and the commit: 3
    assert executor.running().delay_steps == 5  # with the margin of 1.5
    executor.reset(robot.config.home_rad, np.array([0.08]), 2000 * MS)
    executor.accept(make_chunk(_sweep(robot, 0.0), 2001 * MS, 3), 2002 * MS)
    assert executor.running().delay_steps == 20, "after a reset it begins anew"
