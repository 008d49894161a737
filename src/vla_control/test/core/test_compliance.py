"""Modes, profiles, friction and payload: whatever changes, the torque takes no step and the model stays true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.compliance import Compliance, settings_record
from vla_control.core.impedance import D_NULL, JOINT_SHARE, K_LIN, K_NULL
from vla_control.core.parameters import PHASES, ServoParameters
from vla_control.core.payload import Payload
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.records import COMMAND, MODES, PLAN, STATE, STATUS

MS = 1_000_000
_servos: dict[int, ServoCore] = {}


def _servo(robot: RobotModel) -> ServoCore:
    return _servos.setdefault(id(robot), ServoCore(robot, ServoParameters.from_config()))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    compliance=st.sampled_from(["operational_space", "joint"]),
    phase=st.sampled_from(PHASES),
    payload_kg=st.floats(0.0, 3.0),
    at=st.integers(2, 40),
)
def test_engaged_from_any_motion_and_switched_at_any_time_the_torque_takes_no_step(
    robot: RobotModel, seed: int, compliance: str, phase: str, payload_kg: float, at: int
) -> None:
    """From its first tick: the arm is already driven by the torque of somebody else, and moves."""
    rng, config = np.random.default_rng(seed), robot.config
    q = rng.uniform(config.position_min_rad + 0.3, config.position_max_rad - 0.3)
    qd = rng.uniform(-0.7, 0.7, 7) * config.velocity_rad_s
    servo = _servo(robot)
    servo.reset()
    start = settings_record(replace(servo.params, compliance="joint" if compliance[0] == "o" else "operational_space"))
    servo.use(start)
    servo._compliance.settle()
    state, plan, command, status = (np.zeros(1, d) for d in (STATE, PLAN, COMMAND, STATUS))
    terms = robot.model.createData()
    previous = rng.uniform(-0.8, 0.8, 7) * config.torque_nm
    step = 1e-3 * config.torque_rate_nm_s + 1e-9
    for tick in range(1, 80):
        if tick == at:
            params = replace(servo.params, compliance=compliance, phase=phase, payload_kg=payload_kg)
            servo.use(settings_record(params))
        state["tick"], state["stamp_ns"] = tick, tick * MS
        state["q"][0, :7], state["qd"][0, :7], state["tau"][0, :7] = q, qd, previous
        servo.tick(state, plan, False, command, status)
        torque = command["tau"][0, :7].copy()
        assert np.all(np.abs(torque - previous) <= step)
        assert np.all(np.abs(torque) <= config.torque_nm + 1e-9)
        previous = torque
        qdd = pin.aba(robot.model, terms, q, qd, torque - robot.damping_nm_s * qd)
        qd = qd + 1e-3 * qdd
        q = q + 1e-3 * qd


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), compliance=st.sampled_from(["operational_space", "joint"]))
def test_a_moving_arm_that_gravity_and_coriolis_carry_is_taken_over_without_a_jerk_in_the_torque(
    robot: RobotModel, seed: int, compliance: str
) -> None:
    """No rate limit has to help: the target begins with the arm's own motion."""
    rng, config = np.random.default_rng(seed), robot.config
    q = rng.uniform(config.position_min_rad + 0.3, config.position_max_rad - 0.3)
    qd = rng.uniform(-0.5, 0.5, 7) * config.velocity_rad_s
    carry = pin.nonLinearEffects(robot.model, robot.model.createData(), q, qd) + robot.damping_nm_s * qd
    if np.any(np.abs(carry) > config.torque_nm):
        return
    servo = _servo(robot)
    servo.reset()
    servo.use(settings_record(replace(servo.params, compliance=compliance)))
    servo._compliance.settle()
    state, plan, command, status = (np.zeros(1, d) for d in (STATE, PLAN, COMMAND, STATUS))
    state["stamp_ns"], state["q"][0, :7], state["qd"][0, :7], state["tau"][0, :7] = MS, q, qd, carry
    servo.tick(state, plan, False, command, status)
    assert np.abs(command["tau"][0, :7] - carry).max() < 1e-6
    assert np.abs(status["qd_target"][0, :7] - qd).max() < 1e-9


@pytest.mark.parametrize("compliance", ["operational_space", "joint"])
def test_switching_in_a_motion_keeps_the_arm_on_its_target(
    robot: RobotModel, make_rig: Callable, compliance: str
) -> None:
    rig = make_rig()
    params = rig.servo.params
    before = "joint" if compliance == "operational_space" else "operational_space"
    rig.servo.use(settings_record(replace(params, compliance=before)))
    rig.servo._compliance.settle()
    rig.run(20)
    _sway(rig, robot)
    rig.run(300)
    rig.servo.use(settings_record(replace(params, compliance=compliance)))
    rig.run(700)
    assert rig.column("error_m", 300).max() < 2e-3
    assert rig.acted("torque_rate") == 0
    share = rig.column("joint_share")
    assert share[-1] == (1.0 if compliance == "joint" else 0.0)
    ticks = np.count_nonzero((share > 0.0) & (share < 1.0))
    assert abs(ticks * 1e-3 - params.compliance_blend_s) < 5e-3


def _sway(rig, robot: RobotModel) -> None:  # type: ignore[no-untyped-def]
    """A plan of 2 s in which every joint sways by 0.1 rad, from rest to rest."""
    count, dt = 201, 0.01
    t = dt * np.arange(count)[:, None]
    w = 2 * np.pi / 2.0
    # sin^3: starts and ends with zero velocity and acceleration
    s, c = np.sin(w * t), np.cos(w * t)
    plan = rig.plan
    plan["q"][0, :count, :7] = robot.config.home_rad + 0.1 * s**3
    plan["qd"][0, :count, :7] = 0.1 * 3 * w * s**2 * c
    plan["qdd"][0, :count, :7] = 0.1 * 3 * w * w * (2 * s * c**2 - s**3)
    plan["gripper_width"], plan["sequence"], plan["count"], plan["knot_dt_s"] = 0.04, 1, count, dt
    plan["start_ns"], plan["fresh_until_ns"] = rig.now_ns, rig.now_ns + 2000 * MS


@settings(max_examples=50, deadline=None)
@given(
    phases=st.lists(st.sampled_from(PHASES), min_size=1, max_size=4),
    compliances=st.lists(st.sampled_from(["operational_space", "joint"]), min_size=4, max_size=4),
)
def test_gains_move_smoothly_arrive_and_keep_the_damping_critical(phases: list[str], compliances: list[str]) -> None:
    params = ServoParameters.from_config()
    compliance = Compliance(params)
    largest = 2.0 * params.period_s / params.gain_time_s
    for phase, mode in zip(phases, compliances, strict=False):
        compliance.use(settings_record(replace(params, phase=phase, compliance=mode)))
        for _ in range(round(8 * max(params.gain_time_s, params.compliance_blend_s) / params.period_s)):
            before = compliance.gain.copy()
            compliance.advance()
            assert abs(compliance.gain[K_LIN] - before[K_LIN]) <= largest * params.stiffness_n_m
            step = abs(compliance.gain[JOINT_SHARE] - before[JOINT_SHARE])
            assert step <= params.period_s / params.compliance_blend_s + 1e-12
        factor = params.phase_stiffness[PHASES.index(phase)]
        assert compliance.gain[K_LIN] == pytest.approx(factor * params.stiffness_n_m, rel=1e-3)
        assert compliance.gain[JOINT_SHARE] == (1.0 if mode == "joint" else 0.0)
        ratio = compliance.gain[D_NULL] / np.sqrt(compliance.gain[K_NULL])
        expected = params.nullspace_damping_nm_s_rad / np.sqrt(params.nullspace_stiffness_nm_rad)
        assert ratio == pytest.approx(expected, rel=1e-3)


def test_settings_that_are_no_numbers_change_nothing() -> None:
    params = ServoParameters.from_config()
    compliance = Compliance(params)
    record = settings_record(replace(params, phase="contact", payload_kg=1.0))
    for name, value in (("stiffness", np.nan), ("force", 0.0), ("payload_kg", -1.0), ("compliance", 7)):
        bad = record.copy()
        bad[name] = value
        compliance.use(bad)
    bad = record.copy()
    bad["payload_com"][0, 1] = np.inf
    compliance.use(bad)
    before = compliance.gain.copy()
    for _ in range(100):
        compliance.advance()
    np.testing.assert_array_equal(compliance.gain, before)
    assert not compliance.load.any()


def test_stiffness_of_the_phase_is_felt_at_the_tool(make_rig: Callable) -> None:
    """A push of 10 N moves the tool by 10 N / K, before and after the change, in operational space."""
    rig = make_rig()
    params = rig.servo.params
    found = []
    for phase in ("free", "contact"):
        rig.servo.use(settings_record(replace(params, phase=phase)))
        rig.push_n = np.array([0.0, 10.0, 0.0])
        rig.run(2000)
        found.append(10.0 / rig.log[-1]["error_m"][0])
        rig.push_n = np.zeros(3)
        rig.run(1500)
    factor = params.phase_stiffness[PHASES.index("contact")]
    np.testing.assert_allclose(found, [params.stiffness_n_m, factor * params.stiffness_n_m], rtol=0.05)


def test_joint_impedance_follows_its_own_law_at_rest(robot: RobotModel, make_rig: Callable) -> None:
    """A constant push tau_ext = J' F ends where K_q (q_t - q) = -tau_ext."""
    rig = make_rig(compliance_blend_s=0.01)
    rig.servo.use(settings_record(replace(rig.servo.params, compliance="joint")))
    rig.push_n = np.array([0.0, 8.0, -5.0])
    rig.run(3000)
    q = rig.data.qpos[:7]
    hand = pin.computeFrameJacobian(
        robot.model, robot.model.createData(), q, robot.model.getFrameId("panda_hand"), pin.LOCAL_WORLD_ALIGNED
    )
    centre = rig.data.xipos[rig.model.body("panda_hand").id] - rig.data.xpos[rig.model.body("panda_hand").id]
    torque = hand[:3].T @ rig.push_n + hand[3:].T @ np.cross(centre, rig.push_n)
    expected = torque / robot.config.joint_stiffness_nm_rad
    np.testing.assert_allclose(q - robot.config.home_rad, expected, atol=2e-4)


def test_known_payload_is_no_wrench_and_an_unknown_one_is(make_rig: Callable) -> None:
    mass, com = 0.8, np.array([0.02, -0.01, 0.03])
    rig = make_rig()
    tool, hand = rig.model.site("tool"), rig.model.body("panda_hand")
    rig.run(200)
    spot = tool.pos + com  # the tool's axes are those of the hand
    old = rig.model.body_mass[hand.id]
    total = old + mass
    centre = (old * hand.ipos + mass * spot) / total
    for m, r in ((old, hand.ipos - centre), (mass, spot - centre)):
        rig.model.body_inertia[hand.id] += np.diag(m * (r @ r * np.eye(3) - np.outer(r, r)))
    rig.model.body_mass[hand.id] = total
    rig.model.body_ipos[hand.id] = centre
    rig.run(1500)
    unknown = rig.log[-1]["wrench"][0].copy()
    assert unknown[2] == pytest.approx(-9.81 * mass, rel=0.05)
    params = replace(rig.servo.params, payload_kg=mass, payload_com_m=tuple(com))
    rig.servo.use(settings_record(params))
    rig.run(2000)
    known = rig.log[-1]["wrench"][0]
    assert np.abs(known[:3]).max() < 0.02 * 9.81 * mass and np.abs(known[3:]).max() < 0.02
    assert rig.log[-1]["error_m"][0] < 1e-4 and rig.acted("torque_rate") == 0
    _sway(rig, rig.servo.robot)
    rig.run(1900)
    assert np.linalg.norm(rig.column("wrench", 3800)[:, :3], axis=1).max() < 0.6  # while it moves


def test_payload_set_and_taken_away_leaves_the_model_as_it_was(robot: RobotModel) -> None:
    twin = robot.copy()
    payload, data = Payload(twin.model, twin.tool_id), twin.model.createData()
    q = robot.config.home_rad
    empty = pin.computeGeneralizedGravity(twin.model, data, q).copy()
    load = np.array([1.5, 0.03, 0.0, -0.015])
    payload.set(load)
    with_load = pin.computeGeneralizedGravity(twin.model, data, q).copy()
    jacobian = robot.jacobian(q)
    rotation = np.array(robot.tool_se3(q).rotation)
    arm = rotation @ (load[1:] / load[0])
    weight = np.array([0.0, 0.0, -9.81 * load[0]])
    expected = empty - jacobian[:3].T @ weight - jacobian[3:].T @ np.cross(arm, weight)
    np.testing.assert_allclose(with_load, expected, atol=1e-9)
    payload.set(np.zeros(4))
    np.testing.assert_array_equal(pin.computeGeneralizedGravity(twin.model, data, q), empty)
    np.testing.assert_array_equal(
        robot.model.inertias[7].toDynamicParameters(), twin.model.inertias[7].toDynamicParameters()
    )


def test_friction_in_the_configuration_improves_tracking_and_leaves_the_wrench_alone(
    robot: RobotModel, make_rig: Callable
) -> None:
    loss = np.array([1.5, 1.5, 1.2, 1.2, 0.6, 0.5, 0.4])
    found = []
    for coulomb in (np.zeros(7), loss):
        rig = make_rig()
        rig.model.dof_frictionloss[:7] = loss
        rig.servo = ServoCore(
            RobotModel(replace(robot.config, coulomb_friction_nm=coulomb)), ServoParameters.from_config()
        )
        rig.run(20)
        _sway(rig, robot)
        rig.run(1900)
        fast = np.abs(rig.column("qd")[:, :7]).min(axis=1) > 0.1  # where the smooth law has saturated
        force = np.linalg.norm(rig.column("wrench")[:, :3], axis=1)
        found.append((rig.column("error_m").max(), np.median(force[fast])))
    (raw_error, raw_force), (error, force) = found
    assert error < 0.5 * raw_error
    assert force < 0.2 * raw_force


def test_unknown_compliance_and_incomplete_profiles_are_named() -> None:
    params = ServoParameters.from_config()
    with pytest.raises(UnknownNameError, match="operational_space"):
        replace(params, compliance="soft")
    with pytest.raises(UnknownNameError, match="grasp"):
        replace(params, phase="dance")
    with pytest.raises(ConfigError, match="phase_stiffness"):
        replace(params, phase_stiffness=(1.0, 1.0))
    with pytest.raises(ConfigError, match="payload_com_m"):
        replace(params, payload_com_m=(0.0, 0.0))


def test_a_stop_in_joint_impedance_brakes_and_holds(robot: RobotModel, make_rig: Callable) -> None:
    rig = make_rig(compliance="joint")
    rig.run(20)
    _sway(rig, robot)
    rig.run(600)
    rig.stop = True
    rig.run(600)
    assert rig.acted("safety_stop") == 600 and int(rig.log[-1]["mode"][0]) == MODES.index("stop")
    assert np.abs(rig.log[-1]["qd"]).max() < 5e-3
    assert rig.acted("torque_rate") == 0
