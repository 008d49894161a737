"""The compiled impedance against its own equations in numpy, its limits one by one, and that each is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.compliance import Compliance
from vla_control.core.impedance import (
    D_LIMIT,
    D_NULL,
    ERROR_LIN,
    ERROR_ROT,
    FORCE_LIN,
    FORCE_ROT,
    JOINT_SHARE,
    K_LIMIT,
    K_LIN,
    K_NULL,
    K_ROT,
    MARGIN,
    SMOOTHING,
    STIFFNESS,
    ZETA,
    impedance_torque,
    joint_table,
)
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_core.records import COMMAND, LIMITS, PLAN, STATE, STATUS
from vla_core.types import Float64

MS = 1_000_000
PARAMS = ServoParameters.from_config()
POSITION_MIN, POSITION_MAX, VELOCITY, TORQUE, TORQUE_RATE, JOINT_STIFFNESS, COULOMB = range(7)  # rows of the table
seeds = st.integers(0, 2**31)
Motion = tuple[Float64, Float64, Float64, Float64, Float64]


@dataclass
class Law:
    """One call of the kernel; torques are free to jump and to be as large as they come, unless a test says else."""

    robot: RobotModel

    def __post_init__(self) -> None:
        self.gain, self.table = Compliance(PARAMS).gain.copy(), joint_table(self.robot.config)
        self.table[TORQUE] = self.table[TORQUE_RATE] = 1e9
        self.table[COULOMB] = np.linspace(0.1, 0.7, 7)
        self.tau_previous = np.zeros(7)

    def torque(self, motion: Motion) -> tuple[Float64, set[str]]:
        """Torque (7,) of q, qd, q_t, qd_t, qdd_t, and the names of the limits that acted."""
        model, (q, qd, q_t, *_) = self.robot.model, motion
        data = model.createData()
        pin.computeAllTerms(model, data, q, qd)
        jacobian = pin.computeFrameJacobian(model, data, q, self.robot.tool_id, pin.LOCAL_WORLD_ALIGNED)
        (rotation, position), (rotation_t, position_t) = self.pose(q), self.pose(q_t)
        tau, error, wrench = np.zeros(7), np.zeros(2), np.zeros(6)
        bits = impedance_torque(
            *motion, rotation, position, rotation_t, position_t, 0, np.asfortranarray(jacobian), data.M, data.nle,
            self.robot.damping_nm_s, self.gain, self.table, self.tau_previous, qd.copy(), PARAMS.period_s, np.zeros(7),
            tau, error, wrench,
        )  # fmt: skip
        return tau, {name for bit, name in enumerate(LIMITS) if bits >> bit & 1}

    def pose(self, q: Float64) -> tuple[Float64, Float64]:
        pose: Any = self.robot.tool_se3(q)
        return np.asfortranarray(pose.rotation), np.array(pose.translation)

    def terms(self, q: Float64, qd: Float64) -> tuple[Float64, Float64, Float64]:
        """Mass matrix, Coriolis and gravity, tool Jacobian; by other algorithms than the servo's."""
        model = self.robot.model
        mass = np.array(pin.crba(model, model.createData(), q))
        mass = np.triu(mass) + np.triu(mass, 1).T
        bias = pin.rnea(model, model.createData(), q, qd, np.zeros(7))
        return mass, bias, self.robot.jacobian(q)

    def equation(self, motion: Motion) -> Float64:
        """The docstring of impedance.py, away from limits and singularities."""
        q, qd, q_t, qd_t, qdd_t = motion
        g, zeta = self.gain, self.gain[ZETA]
        mass, bias, jacobian = self.terms(q, qd)
        inverse = np.linalg.inv(mass)
        inertia = np.linalg.inv(jacobian @ inverse @ jacobian.T)
        (rotation, position), (rotation_t, position_t) = self.pose(q), self.pose(q_t)
        error = np.concatenate([
            clamped(position_t - position, g[ERROR_LIN]), clamped(pin.log3(rotation_t @ rotation.T), g[ERROR_ROT]),
        ])  # fmt: skip
        k = np.repeat([g[K_LIN], g[K_ROT]], 3)
        force = both(k * error + 2 * zeta * np.sqrt(k * np.diag(inertia)) * (jacobian @ (qd_t - qd)), g)
        null = g[K_NULL] * (q_t - q) + g[D_NULL] * (qd_t - qd)
        task = jacobian.T @ force + (np.eye(7) - jacobian.T @ inertia @ jacobian @ inverse) @ null
        k_q = g[STIFFNESS] * self.table[JOINT_STIFFNESS]
        spring = k_q * (q_t - q) + 2 * zeta * np.sqrt(k_q * np.diag(mass)) * (qd_t - qd)
        pull = inertia @ jacobian @ inverse @ spring
        joint = spring + jacobian.T @ (both(pull, g) - pull)
        friction = self.robot.damping_nm_s * qd_t + self.table[COULOMB] * np.tanh(qd_t / g[SMOOTHING])
        share = g[JOINT_SHARE]
        return bias + mass @ qdd_t + friction + (1 - share) * task + share * joint


def clamped(x: Float64, largest: float) -> Float64:
    return x * min(1.0, largest / max(1e-12, float(np.linalg.norm(x))))


def both(wrench: Float64, gain: Float64) -> Float64:
    return np.concatenate([clamped(wrench[:3], gain[FORCE_LIN]), clamped(wrench[3:], gain[FORCE_ROT])])


@pytest.fixture
def law(robot: RobotModel) -> Law:
    return Law(robot)


def near_home(robot: RobotModel, seed: int, reach: float, speed: float = 0.5) -> Motion:
    """A motion near the home posture, well within every limit, with a target so far off [rad]."""
    rng = np.random.default_rng(seed)
    q = robot.config.home_rad + rng.uniform(-0.2, 0.2, 7)
    qd, qd_t = rng.uniform(-speed, speed, (2, 7))
    return q, qd, q + rng.uniform(-reach, reach, 7), qd_t, rng.uniform(-3.0, 3.0, 7)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, reach=st.sampled_from([1e-3, 0.05, 0.4]), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_the_torque_follows_the_equations(robot: RobotModel, seed: int, reach: float, share: float) -> None:
    law = Law(robot)
    law.gain[JOINT_SHARE] = share
    motion = near_home(robot, seed, reach)
    tau, acting = law.torque(motion)
    assert acting <= {"error_clamp", "force_clamp"}
    np.testing.assert_allclose(tau, law.equation(motion), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_the_null_space_torque_pulls_at_the_posture_and_never_accelerates_the_tool(
    robot: RobotModel, seed: int
) -> None:
    law = Law(robot)
    motion = near_home(robot, seed, 0.3)
    q, qd, q_t, qd_t, _ = motion
    with_posture, _ = law.torque(motion)
    wanted = law.gain[K_NULL] * (q_t - q) + law.gain[D_NULL] * (qd_t - qd)
    law.gain[K_NULL] = law.gain[D_NULL] = 0.0
    posture = with_posture - law.torque(motion)[0]
    mass, _, jacobian = law.terms(q, qd)
    moved = np.linalg.solve(mass, posture)
    np.testing.assert_allclose(jacobian @ moved, 0.0, atol=1e-8)
    redundant = np.linalg.svd(jacobian)[2][-1]  # the one way that the joints can move without the tool
    assert redundant @ mass @ moved == pytest.approx(redundant @ wanted, abs=1e-8)
    assert np.linalg.norm(moved) > 1e-3 * abs(redundant @ wanted)


@pytest.mark.parametrize("part", ["position", "rotation"])
def test_an_error_beyond_its_clamp_counts_as_large_as_the_clamp_and_is_named(law: Law, part: str) -> None:
    """The force clamp, which would hide it, is out of the way."""
    law.gain[FORCE_LIN] = law.gain[FORCE_ROT] = 1e9
    q, rest = law.robot.config.home_rad, np.zeros(7)
    joint, k, clamp = (0, K_LIN, PARAMS.error_clamp_m) if part == "position" else (6, K_ROT, PARAMS.error_clamp_rad)
    law.gain[[K_NULL, D_NULL, K_ROT if part == "position" else K_LIN]] = 0.0
    _, bias, jacobian = law.terms(q, rest)
    strengths, names = [], []
    for reach in (0.1, 0.3, 0.8):  # [rad] of the first joint, which carries the tool 0.5 m from its axis, or the last
        q_t = q.copy()
        q_t[joint] += reach
        tau, acting = law.torque((q, rest, q_t, rest, rest))
        force = np.linalg.pinv(jacobian.T) @ (tau - bias)
        strengths.append(float(np.linalg.norm(force)))
        names.append("error_clamp" in acting)
    assert names == [False, part == "position", True]
    assert strengths[0] < 0.9 * law.gain[k] * clamp
    assert strengths[2] == pytest.approx(law.gain[k] * clamp, rel=1e-6)


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("joint", range(7))
def test_from_the_margin_on_a_joint_is_pushed_back_and_braked_outwards_only(law: Law, joint: int, side: float) -> None:
    config, margin = law.robot.config, PARAMS.limit_margin_rad
    limit = config.position_max_rad if side > 0 else config.position_min_rad
    q, rest = law.robot.config.home_rad.copy(), np.zeros(7)

    def spring(depth_rad: float, speed_rad_s: float) -> tuple[Float64, set[str]]:
        q[joint] = limit[joint] - side * (margin - depth_rad)
        qd = np.zeros(7)
        qd[joint] = side * speed_rad_s
        with_spring, acting = law.torque((q, qd, q, rest, rest))
        law.gain[K_LIMIT] = law.gain[D_LIMIT] = 0.0
        without, _ = law.torque((q, qd, q, rest, rest))
        law.gain[K_LIMIT], law.gain[D_LIMIT] = PARAMS.limit_stiffness_nm_rad, PARAMS.limit_damping_nm_s_rad
        return with_spring - without, acting

    for depth, speed in ((0.01, 0.0), (margin, 0.0), (margin + 0.05, 0.0), (0.01, 0.2), (0.01, -0.2)):
        expected = np.zeros(7)
        damping = PARAMS.limit_damping_nm_s_rad * max(0.0, speed)
        expected[joint] = -side * (PARAMS.limit_stiffness_nm_rad * depth + damping)
        torque, acting = spring(depth, speed)
        np.testing.assert_allclose(torque, expected, atol=1e-9)
        assert expected[joint] * side < 0.0 and "joint_position" in acting
    torque, acting = spring(-1e-3, 0.2)
    assert not torque.any() and "joint_position" not in acting
    assert law.gain[MARGIN] == margin


@pytest.mark.parametrize("speed", [-3.0, 3.0])
def test_a_joint_above_its_speed_limit_is_braked_by_what_it_is_too_fast(law: Law, speed: float) -> None:
    q, rest, qd = law.robot.config.home_rad, np.zeros(7), np.zeros(7)
    qd[3] = speed
    with_brake, acting = law.torque((q, qd, q, rest, rest))
    law.gain[D_LIMIT] = 0.0
    without, _ = law.torque((q, qd, q, rest, rest))
    excess = 3.0 - law.robot.config.velocity_rad_s[3]
    expected = np.zeros(7)
    expected[3] = -np.sign(speed) * PARAMS.limit_damping_nm_s_rad * excess
    np.testing.assert_allclose(with_brake - without, expected, atol=1e-9)
    assert excess > 0.0 and "joint_velocity" in acting


def test_a_torque_beyond_its_limit_is_cut_off_and_named(law: Law) -> None:
    motion = near_home(law.robot, 0, 0.4)
    free, acting = law.torque(motion)
    assert "joint_torque" not in acting
    law.table[TORQUE] = np.abs(free) + np.where(np.arange(7) == 2, -0.1, 0.1)
    cut, acting = law.torque(motion)
    assert "joint_torque" in acting and cut[2] == pytest.approx(np.sign(free[2]) * law.table[TORQUE, 2])
    np.testing.assert_array_equal(np.delete(cut, 2), np.delete(free, 2))


def test_a_torque_that_changes_too_fast_is_held_back_and_named(law: Law) -> None:
    motion = near_home(law.robot, 0, 0.4)
    free, _ = law.torque(motion)
    law.tau_previous = free + np.where(np.arange(7) == 2, 5.0, 0.0)
    law.table[TORQUE_RATE] = law.robot.config.torque_rate_nm_s
    held, acting = law.torque(motion)
    step = PARAMS.period_s * law.robot.config.torque_rate_nm_s
    assert "torque_rate" in acting and held[2] == pytest.approx(law.tau_previous[2] - step[2])
    np.testing.assert_allclose(np.delete(held, 2), np.delete(free, 2), atol=1e-12)


def _pushed(robot: RobotModel, params: ServoParameters, torque_nm: float) -> tuple[float, Any]:
    """Where the last joint comes to, 2 s of a push outwards from 0.02 rad before its limit; and the last status.

    Nothing but the servo keeps the joint there: the model of the arm has no stops.
    """
    servo = ServoCore(robot, params)
    state, plan, command, status = (np.zeros(1, d) for d in (STATE, PLAN, COMMAND, STATUS))
    data, push, dt = robot.model.createData(), np.zeros(7), 1e-3
    q, qd = robot.config.home_rad.copy(), np.zeros(7)
    q[6], push[6] = robot.config.position_max_rad[6] - 0.02, torque_nm
    for tick in range(1, 2001):
        state["tick"], state["stamp_ns"] = tick, tick * MS
        state["q"][0, :7], state["qd"][0, :7] = q, qd
        servo.tick(state, plan, False, command, status)
        tau = command["tau"][0, :7] + push - robot.damping_nm_s * qd
        qd = qd + dt * pin.aba(robot.model, data, q, qd, tau)
        q = q + dt * qd
    return float(q[6] - robot.config.position_max_rad[6]), status


def test_a_joint_that_is_pushed_at_its_limit_stays_within_it_and_without_the_spring_it_does_not(
    robot: RobotModel,
) -> None:
    beyond, status = _pushed(robot, PARAMS, 3.0)
    assert beyond < 0.0
    assert status["limit_counts"][0, LIMITS.index("joint_position")] == 2000
    assert int(status["limits_acting"][0]) >> LIMITS.index("joint_position") & 1
    unsprung, _ = _pushed(robot, replace(PARAMS, limit_stiffness_nm_rad=0.0, limit_damping_nm_s_rad=0.0), 3.0)
    assert unsprung > 0.02
