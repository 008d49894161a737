"""ServoCore against MuJoCo: tight in free space, gentle in contact, smooth and bounded whatever arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pinocchio as pin
import pytest

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.compiled_math import quaternion_from_matrix, rotation_error
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_core.records import COMMAND, LIMITS, MODES, PLAN, STATE, STATUS
from vla_core.types import ActionChunk, Float64

MS = 1_000_000
HOLD, TRACK, STOP = (MODES.index(name) for name in ("hold", "track", "stop"))
MakeChunk = Callable[..., ActionChunk]


def _line(robot: RobotModel, reach: Float64, speed_m_s: float, steps: int = 20) -> Float64:
    """Tool positions (T,3) from home along `reach` (3,) [m] at up to `speed_m_s`, starting and ending gently."""
    home, _ = robot.tool_pose(robot.config.home_rad)
    duration = 1.875 * np.linalg.norm(reach) / speed_m_s  # peak speed of the minimum-jerk profile
    s = np.clip((0.05 * np.arange(steps) - 0.1) / duration, 0.0, 1.0)[:, None]
    return home + (10 * s**3 - 15 * s**4 + 6 * s**5) * np.asarray(reach)


def test_tracks_within_a_millimetre_at_0_3_m_s(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk, make_rig: Callable
) -> None:
    rig = make_rig()
    rig.follow(executor)
    rig.run(50)
    executor.accept(make_chunk(_line(robot, [0.05, 0.12, -0.05], 0.32), 49 * MS), 50 * MS)
    rig.follow(executor)
    rig.run(1500)
    speed = np.linalg.norm(np.diff(rig.column("tool_pose")[:, :3], axis=0), axis=1) / 1e-3
    assert speed.max() > 0.28
    assert rig.column("error_m").max() < 1e-3 and rig.column("error_rad").max() < 0.01
    assert rig.log[-1]["limit_counts"].sum() == 0
    home, _ = robot.tool_pose(robot.config.home_rad)
    np.testing.assert_allclose(rig.log[-1]["tool_pose"][0, :3], home + [0.05, 0.12, -0.05], atol=1e-3)
    assert rig.column("mode")[[0, 400, -1]].tolist() == [HOLD, TRACK, HOLD]
    assert rig.log[-1]["max_jerk"][0] <= 1.01 * robot.config.jerk_rad_s3.max()
    assert rig.log[-1]["answers_ns"][0] == 49 * MS and rig.log[-1]["applied_monotonic_ns"][0] > 0


def test_starved_is_reported_and_the_arm_rests(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk, make_rig: Callable
) -> None:
    rig = make_rig()
    rig.follow(executor)
    rig.run(20)
    home, _ = robot.tool_pose(robot.config.home_rad)
    endless = home + 0.05 * np.arange(8)[:, None] * np.array([0.0, 0.2, 0.0])  # still moving at its last step
    executor.accept(make_chunk(endless, 19 * MS), 20 * MS)
    rig.follow(executor)
    rig.run(1500)
    starved = rig.column("starved")
    assert not starved[:369].any() and starved[370:].all()
    assert rig.log[-1]["starved_s"][0] == pytest.approx(1.52 - 0.369, abs=0.003)
    assert not rig.log[-1]["qd_target"].any() and np.abs(rig.log[-1]["qd"]).max() < 1e-3
    assert np.abs(np.diff(rig.column("qdd_target"), axis=0)).max() < 1.01e-3 * robot.config.jerk_rad_s3.max()


def test_force_against_a_wall_stays_within_the_clamp(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk, make_rig: Callable
) -> None:
    """The target ends 10 cm behind the wall: the spring alone would press with 80 N."""
    home, _ = robot.tool_pose(robot.config.home_rad)
    rig = make_rig(wall_x_m=float(home[0]) + 0.06)
    rig.follow(executor)
    rig.run(20)
    executor.accept(make_chunk(_line(robot, [0.16, 0.0, 0.0], 0.25), 19 * MS), 20 * MS)
    rig.follow(executor)
    rig.run(2500)
    clamp = ServoParameters.from_config().force_clamp_n
    pressed = _wall_force(rig)
    assert rig.acted("force_clamp") > 500
    assert 0.3 * clamp < pressed < 1.15 * clamp
    estimate = rig.column("wrench", 2300)[:, 0].mean()
    assert estimate == pytest.approx(-pressed, abs=0.1 * pressed)
    assert np.abs(rig.log[-1]["qd"]).max() < 0.02  # no chatter


def _wall_force(rig: Any) -> float:
    """Normal force on the wall [N], averaged over 100 ms."""
    wall, out, total = rig.model.geom("wall").id, np.zeros(6), 0.0
    for _ in range(100):
        rig.run(1)
        for i in range(rig.data.ncon):
            if wall in (rig.data.contact[i].geom1, rig.data.contact[i].geom2):
                mujoco.mj_contactForce(rig.model, rig.data, i, out)
                total += out[0] / 100
    return total


def test_push_on_the_hand_is_felt(executor: ChunkExecutor, make_rig: Callable) -> None:
    rig = make_rig()
    rig.run(100)
    rig.push_n = np.array([0.0, 8.0, -5.0])
    rig.run(800)
    np.testing.assert_allclose(rig.log[-1]["wrench"][0, :3], rig.push_n, atol=0.3)
    rig.push_n = np.zeros(3)
    rig.run(800)
    np.testing.assert_allclose(rig.log[-1]["wrench"][0], 0.0, atol=0.1)


def test_torque_and_its_rate_are_bounded_under_a_violent_disturbance(robot: RobotModel, make_rig: Callable) -> None:
    rig = make_rig()
    rig.run(20)
    rig.data.qvel[:7] = 3.0 * np.array([1, -1, 1, 1, -1, 1, -1])
    rig.run(300)
    torque, config = rig.column("tau")[:, :7], robot.config
    assert np.all(np.abs(torque) <= config.torque_nm + 1e-9)
    assert np.all(np.abs(np.diff(torque, axis=0)) <= 1e-3 * config.torque_rate_nm_s + 1e-9)
    assert rig.acted("torque_rate") > 0 and rig.acted("joint_velocity") > 0
    rig.run(3000)
    np.testing.assert_allclose(rig.data.qpos[:7], config.home_rad, atol=0.01)  # and it recovers


def test_stop_brakes_within_the_jerk_limit_and_old_plans_stay_dead(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk, make_rig: Callable
) -> None:
    rig = make_rig()
    rig.follow(executor)
    rig.run(20)
    executor.accept(make_chunk(_line(robot, [0.05, 0.12, -0.05], 0.32), 19 * MS), 20 * MS)
    rig.follow(executor)
    rig.run(330)
    assert np.abs(rig.log[-1]["qd_target"]).max() > 0.2
    rig.stop = True
    rig.run(400)
    assert set(rig.column("mode", 350).tolist()) == {STOP} and rig.acted("safety_stop") == 400
    stopped = rig.log[-1]["q_target"][0].copy()
    assert not rig.log[-1]["qd_target"].any()
    rig.stop = False
    rig.run(300)
    np.testing.assert_array_equal(rig.log[-1]["q_target"][0], stopped)
    assert np.abs(np.diff(rig.column("qdd_target"), axis=0)).max() < 1.01e-3 * robot.config.jerk_rad_s3.max()
    executor.reset(stopped[:7], np.array([0.04]), rig.now_ns)
    rig.follow(executor)
    rig.run(5)
    here = rig.log[-1]["tool_pose"][0, :3]
    back = here + np.linspace(0, 0.05, 20)[:, None] * np.array([0.0, 0.0, 1.0])
    executor.accept(make_chunk(back, rig.now_ns - MS, 2), rig.now_ns)
    rig.follow(executor)
    rig.run(1200)
    assert rig.log[-1]["tool_pose"][0, 2] == pytest.approx(here[2] + 0.05, abs=3e-3)


def test_a_plan_that_starts_elsewhere_is_joined_without_a_jump(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk, make_rig: Callable
) -> None:
    """A servo that is started, or reads a plan late, in the middle of a motion."""
    rig = make_rig()
    executor.accept(make_chunk(_line(robot, [0.05, 0.12, -0.05], 0.32), MS), 2 * MS)
    rig.run(350)
    rig.follow(executor)
    rig.run(1300)
    config = robot.config
    assert np.abs(np.diff(rig.column("q_target"), axis=0)).max() < 1.01e-3 * config.velocity_rad_s.max()
    assert np.abs(np.diff(rig.column("qdd_target"), axis=0)).max() < 1.01e-3 * config.jerk_rad_s3.max()
    np.testing.assert_allclose(rig.log[-1]["q_target"][0, :7], executor.sample(rig.now_ns).q_rad, atol=1e-9)
    assert rig.column("error_m").max() < 2e-3


def test_regression_a_plan_that_cannot_be_joined_brings_the_arm_to_rest_and_the_next_one_is_followed(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk, make_rig: Callable
) -> None:
    """The servo loop ended with Ruckig's exception, and the robot with it."""
    rig = make_rig()
    executor.accept(make_chunk(_line(robot, [0.05, 0.12, -0.05], 0.32), MS), 2 * MS)
    rig.follow(executor)
    rig.run(350)
    rig.plan["qdd"][0, : rig.plan["count"][0]] = 3.0 * np.max(robot.config.acceleration_rad_s2)
    rig.plan["sequence"] += 1
    rig.plan["start_ns"] += 200 * MS
    rig.run(900)
    config = robot.config
    assert np.abs(rig.log[-1]["qd_target"]).max() == 0.0
    assert np.abs(np.diff(rig.column("qdd_target"), axis=0)).max() < 1.01e-3 * config.jerk_rad_s3.max()
    executor.reset(rig.data.qpos[:7].copy(), np.array([0.08]), rig.now_ns)
    executor.accept(make_chunk(_line(robot, [0.05, 0.12, -0.05], 0.32), rig.now_ns, 3), rig.now_ns)
    rig.follow(executor)
    rig.run(900)
    rig_ns = rig.now_ns - MS
    np.testing.assert_allclose(rig.log[-1]["q_target"][0, :7], executor.sample(rig_ns).q_rad, atol=1e-9)


def test_executor_stop_right_after_a_chunk_is_followed_and_an_answered_rejection_changes_nothing(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk, make_rig: Callable
) -> None:
    rig = make_rig()
    rig.follow(executor)
    rig.run(20)
    executor.accept(make_chunk(_line(robot, [0.05, 0.12, -0.05], 0.32), 19 * MS), 20 * MS)
    rig.follow(executor)
    rig.run(300)
    rig.plan["answers_ns"] = rig.now_ns  # the executor rejected a chunk: answered, but the motion goes on
    rig.run(1)
    np.testing.assert_allclose(rig.log[-1]["q_target"][0, :7], executor.sample(rig.now_ns - MS).q_rad, atol=1e-12)
    executor.accept(make_chunk(_line(robot, [0.05, 0.12, -0.05], 0.32), 20 * MS, 2), rig.now_ns)
    rig.follow(executor)
    rig.run(1)
    executor.stop(rig.now_ns - MS)
    rig.follow(executor)
    rig.run(700)
    assert not rig.log[-1]["qd_target"].any()
    np.testing.assert_allclose(rig.log[-1]["q_target"][0, :7], executor.sample(rig.now_ns).q_rad, atol=1e-12)
    assert np.abs(np.diff(rig.column("qdd_target"), axis=0)).max() < 1.01e-3 * robot.config.jerk_rad_s3.max()


def test_a_reset_plan_far_from_the_robot_is_refused(
    robot: RobotModel, executor: ChunkExecutor, make_rig: Callable
) -> None:
    rig = make_rig()
    executor.reset(robot.config.home_rad + 0.5, np.array([0.08]), 0)
    rig.follow(executor)
    rig.run(50)
    np.testing.assert_allclose(rig.log[-1]["q_target"][0, :7], robot.config.home_rad, atol=1e-3)


def test_broken_measurements_end_in_gravity_compensation_at_rest_and_recover(
    robot: RobotModel, make_rig: Callable
) -> None:
    rig = make_rig()
    rig.run(100)
    rig.data.qvel[:7] = 0.5
    rig.run(5)
    rig.corrupt = True
    rig.run(600)
    assert rig.acted("non_finite_input") == 600
    assert rig.speed[-1] < 0.05
    np.testing.assert_allclose(rig.log[-1]["tau"][0, :7], rig.data.qfrc_bias[:7], atol=0.5)
    for status in rig.log[-600:]:
        assert all(np.isfinite(status[name]).all() for name in ("q", "tau", "wrench", "tool_pose", "qd"))
    torque = rig.column("tau")[:, :7]
    assert np.all(np.abs(np.diff(torque, axis=0)) <= 1e-3 * robot.config.torque_rate_nm_s + 1e-9)
    rig.corrupt = False
    rig.run(2000)
    np.testing.assert_allclose(rig.data.qpos[:7], robot.config.home_rad, atol=0.01)


def test_singularity_is_named_and_survived(robot: RobotModel, make_rig: Callable) -> None:
    rig = make_rig()
    rig.data.qpos[:7] = [0.0, 0.0, 0.0, -0.08, 0.0, 0.08, 0.785]  # stretched straight up
    rig.run(500)
    assert rig.acted("singularity") > 400
    assert np.isfinite(rig.log[-1]["tau"]).all() and np.abs(rig.log[-1]["qd"]).max() < 0.05


def test_gap_between_states_is_named(robot: RobotModel) -> None:
    servo = ServoCore(robot, ServoParameters.from_config())
    state, plan, command, status = (np.zeros(1, d) for d in (STATE, PLAN, COMMAND, STATUS))
    state["q"][0, :7] = robot.config.home_rad
    acting = []
    for stamp_ms in (1, 2, 2, 3, 103, 104):
        state["stamp_ns"] = stamp_ms * MS
        servo.tick(state, plan, False, command, status)
        acting.append(int(status["limits_acting"][0]) >> LIMITS.index("stale_state") & 1)
    assert acting == [0, 0, 1, 0, 1, 0]


def test_rotation_error_is_the_rotation_vector_up_to_half_a_turn() -> None:
    rng = np.random.default_rng(0)
    out, quaternion = np.zeros(3), np.zeros(4)
    for angle in (0.0, 1e-9, 1e-4, 0.5, 2.0, 3.1, np.pi - 1e-7):
        axis = rng.normal(size=3)
        vector = angle * axis / np.linalg.norm(axis)
        actual = np.array(pin.exp3(rng.normal(size=3)), order="C")
        rotation_error(np.array(pin.exp3(vector) @ actual, order="C"), actual, out)
        np.testing.assert_allclose(out, vector, atol=1e-6)
        quaternion_from_matrix(actual, quaternion)
        x, y, z, w = quaternion
        np.testing.assert_allclose(pin.Quaternion(w, x, y, z).toRotationMatrix(), actual, atol=1e-12)


def test_a_position_arm_gets_the_target_within_its_joint_limits_and_no_torque(
    robot: RobotModel, executor: ChunkExecutor, make_chunk: MakeChunk
) -> None:
    """Before the first good state it gets nothing to move to but where it says it is."""
    arm = RobotModel(replace(robot.config, interface="position"))
    servo = ServoCore(arm, ServoParameters.from_config())
    state, plan, command, status = (np.zeros(1, d) for d in (STATE, PLAN, COMMAND, STATUS))
    state["q"][0, :7] = robot.config.home_rad
    executor.accept(make_chunk(_line(robot, [0.05, 0.12, -0.05], 0.32), 0), MS)
    plan[:] = executor.plan
    for tick in range(1, 1200):
        state["tick"], state["stamp_ns"] = tick, tick * MS
        servo.tick(state, plan, False, command, status)
        state["q"][0, :7] = command["q"][0, :7]  # an ideal arm
        state["tau"][0, :7] = pin.computeGeneralizedGravity(arm.model, arm.model.createData(), state["q"][0, :7])
        assert not command["tau"].any()
        np.testing.assert_array_equal(command["q"][0, :7], status["q_target"][0, :7])
    home, _ = robot.tool_pose(robot.config.home_rad)
    np.testing.assert_allclose(robot.tool_pose(command["q"][0, :7])[0], home + [0.05, 0.12, -0.05], atol=1e-3)
    np.testing.assert_array_equal(status["tau"][0, :7], state["tau"][0, :7])
