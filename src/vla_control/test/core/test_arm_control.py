"""Two arms in MuJoCo, pushed at either tool: each feels, gives way and stops as if it were alone."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.admittance import _DAMPING_M, _LENGTH_M, Admittance
from vla_control.core.compliance import Compliance, settings_record
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import INTERFACES, RobotModel
from vla_control.core.servo import ServoCore
from vla_core.errors import ConfigError
from vla_core.records import COMMAND, COMPLIANCE, LIMITS, MODES, PLAN, STATE, STATUS
from vla_core.types import Float64

MS = 1_000_000
_CONTACT = LIMITS.index("contact_force")
_KNOT_S = 0.01


@pytest.fixture(scope="module")
def aloha() -> RobotModel:
    """Both wrists bent: stretched, as at home, they are almost singular, and wrench and springs are damped."""
    config = RobotModel.load("aloha").config
    home = config.home_rad.copy()
    home[[name.endswith("wrist_angle") for name in config.joints]] = -1.0
    return RobotModel(replace(config, home_rad=home))


class Arms:
    """Both arms under one servo, 1 kHz commands and physics.

    Args:
        robot: `interface` decides whether the model file's drives get positions, or the joints get torques.

    Attributes:
        push_n: Force on each tool (2,3) [N], base frame.
        measuring: Which joints' drives report their torque, bool (12,); zeros otherwise.
    """

    def __init__(self, robot: RobotModel, **changes: float) -> None:
        self.robot, config = robot, robot.config
        self.model = mujoco.MjModel.from_xml_path(str(config.model_path))
        self.model.opt.timestep = 0.001
        self.data = mujoco.MjData(self.model)
        joints, fingers = ([self.model.joint(n) for n in names] for names in (config.joints, _fingers(config)))
        self.q, self.v = (np.array([int(j.qposadr[0]) for j in joints]), np.array([int(j.dofadr[0]) for j in joints]))
        self.fingers = [int(j.qposadr[0]) for j in fingers]
        self.drives = np.array([self.model.actuator(name).id for name in config.joints])
        self.tools = [self.model.site(arm.tool_frame) for arm in config.arms]
        if config.interface == "effort":
            self.model.actuator_gainprm[self.drives] = self.model.actuator_biasprm[self.drives] = 0.0
        half_open = 0.25 * config.grippers[0].max_width_m
        self.data.ctrl[[self.model.actuator(gripper.actuator).id for gripper in config.grippers]] = half_open
        self.data.qpos[self.q], self.data.qpos[self.fingers] = config.home_rad, half_open
        self.data.ctrl[self.drives] = config.home_rad
        mujoco.mj_forward(self.model, self.data)
        self.servo = ServoCore(robot, replace(ServoParameters.from_config(), **changes))
        self.state, self.plan, self.command, self.status = (np.zeros(1, d) for d in (STATE, PLAN, COMMAND, STATUS))
        self.push_n, self.measuring = np.zeros((2, 3)), np.ones(12, np.bool_)
        self.ticks = 0

    def run(self, ticks: int) -> None:
        data, state = self.data, self.state
        for _ in range(ticks):
            self.ticks += 1
            state["tick"], state["stamp_ns"] = self.ticks, self.ticks * MS
            state["q"][0, :12], state["qd"][0, :12] = data.qpos[self.q], data.qvel[self.v]
            state["tau"][0, :12] = np.where(self.measuring, data.actuator_force[self.drives], 0.0)
            self.servo.tick(state, self.plan, False, self.command, self.status)
            data.qfrc_applied[:] = 0.0
            if self.robot.config.interface == "effort":
                data.qfrc_applied[self.v] = self.command["tau"][0, :12]
            else:
                data.ctrl[self.drives] = self.command["q"][0, :12]
            for site, force in zip(self.tools, self.push_n, strict=True):
                at, body = data.site_xpos[site.id], int(site.bodyid[0])
                mujoco.mj_applyFT(self.model, data, force, np.zeros(3), at, body, data.qfrc_applied)
            mujoco.mj_step(self.model, data)

    def sway(self, joint: str, by_rad: float) -> None:
        """Plan a minimum-jerk motion of one joint over 2 s from now on."""
        t = np.clip(_KNOT_S * np.arange(400) / 2.0, 0.0, 1.0)[:, None]
        reach = by_rad * (np.array(self.robot.config.joints) == joint)
        plan = self.plan
        plan["q"][0, :400, :12] = self.robot.config.home_rad + reach * (10 * t**3 - 15 * t**4 + 6 * t**5)
        plan["qd"][0, :400, :12] = reach / 2.0 * (30 * t**2 - 60 * t**3 + 30 * t**4)
        plan["qdd"][0, :400, :12] = reach / 4.0 * (60 * t - 180 * t**2 + 120 * t**3)
        plan["sequence"], plan["count"], plan["knot_dt_s"] = 1, 400, _KNOT_S
        plan["start_ns"], plan["fresh_until_ns"] = self.ticks * MS, self.ticks * MS + 4000 * MS

    def places(self) -> Float64:
        """Where the tools are (2,3) [m]."""
        return np.array([self.data.site_xpos[site.id] for site in self.tools])


def _fingers(config) -> list[str]:  # type: ignore[no-untyped-def]
    return [name for gripper in config.grippers for name in gripper.joints]


def alone(robot: RobotModel, arm: int) -> RobotModel:
    """The same robot, of which only one arm moves; the other is fixed at zero."""
    config, joints = robot.config, robot.joints_of(arm)
    rows = {
        name: getattr(config, name)[joints] for name in config.__slots__ if np.shape(getattr(config, name)) == (12,)
    }
    assert len(rows) == 10
    return RobotModel(replace(config, arms=(config.arms[arm],), **rows))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), interface=st.sampled_from(INTERFACES), compliance=st.sampled_from(COMPLIANCE))
def test_two_arms_get_what_each_gets_alone(seed: int, interface: str, compliance: str) -> None:
    """Springs, clamps, limits, wrench and offset, through states that push, jump and leave the joints' limits."""
    rng = np.random.default_rng(seed)
    both, *singles = _servos(interface)
    for servo in (both, *singles):
        servo.reset()
        servo.use(settings_record(replace(servo.params, compliance=compliance)))
        servo._compliance.settle()
    config = both.robot.config
    q = rng.uniform(config.position_min_rad, config.position_max_rad)
    plan, (state, command, status) = np.zeros(1, PLAN), (np.zeros(1, d) for d in (STATE, COMMAND, STATUS))
    scale = 10.0 ** rng.uniform(-3, 0)
    for tick in range(1, 8):
        state["tick"], state["stamp_ns"] = tick, tick * MS
        state["q"][0, :12] = q + scale * rng.normal(size=12) * (tick > 1)
        state["qd"][0, :12] = scale * rng.normal(size=12) * (tick > 1)
        state["tau"][0, :12] = scale * rng.normal(size=12) * config.torque_nm
        both.tick(state, plan, False, command, status)
        acting, forces, errors = 0, [], []
        for arm, single in enumerate(singles):
            joints = both.robot.joints_of(arm)
            own, ours, told = (np.zeros(1, d) for d in (STATE, COMMAND, STATUS))
            own["tick"], own["stamp_ns"] = tick, tick * MS
            for name in ("q", "qd", "tau"):
                own[name][0, :6] = state[name][0, joints]
            single.tick(own, plan, False, ours, told)
            for name in ("tau", "q"):
                np.testing.assert_allclose(command[name][0, joints], ours[name][0, :6], rtol=1e-7, atol=1e-9)
            acting |= int(told["limits_acting"][0])
            forces.append(told["wrench"][0])
            errors.append((told["error_m"][0], told["error_rad"][0]))
        assert int(status["limits_acting"][0]) == acting
        hardest = max(forces, key=lambda wrench: np.linalg.norm(wrench[:3]))
        np.testing.assert_allclose(status["wrench"][0], hardest, rtol=1e-6, atol=1e-6)
        told_error = status["error_m"][0], status["error_rad"][0]
        np.testing.assert_allclose(told_error, np.max(errors, axis=0), rtol=1e-9, atol=1e-12)


_made: dict[str, list[ServoCore]] = {}


def _servos(interface: str) -> list[ServoCore]:
    """Of both arms, of the left one, of the right one; no contact stop, which is common to all."""
    if interface not in _made:
        config = replace(RobotModel.load("aloha").config, interface=interface, contact_force_n=1e9)
        both = RobotModel(config)
        robots = [both, alone(both, 0), alone(both, 1)]
        _made[interface] = [ServoCore(robot, ServoParameters.from_config()) for robot in robots]
    return _made[interface]


def test_each_arm_s_wrench_is_what_pushes_it_and_the_hardest_is_told(aloha: RobotModel) -> None:
    arms = Arms(aloha)
    arms.push_n[:] = [[3.0, -4.0, 2.0], [-8.0, 6.0, 5.0]]
    arms.run(2500)
    np.testing.assert_allclose(arms.servo.wrenches[:, :3], arms.push_n, atol=0.15)
    np.testing.assert_allclose(arms.servo.wrenches[:, 3:], 0.0, atol=0.05)
    np.testing.assert_array_equal(arms.status["wrench"][0], arms.servo.wrenches[1])
    arms.push_n[1] = 0.0
    arms.run(1500)
    np.testing.assert_allclose(arms.status["wrench"][0, :3], arms.push_n[0], atol=0.15)


@pytest.mark.parametrize("arm", [0, 1])
def test_the_arm_that_is_pushed_gives_way_and_the_other_keeps_to_its_target(aloha: RobotModel, arm: int) -> None:
    arms = Arms(aloha)
    arms.run(1500)  # the drives sag first
    before, params, joints = arms.places(), arms.servo.params, aloha.joints_of(arm)
    arms.push_n[arm] = [0.0, 10.0, 0.0]
    arms.run(3000)
    home = aloha.config.home_rad
    spring = (10.0 - params.admittance_deadband_n) / params.stiffness_n_m
    commanded = np.array(
        [aloha.tool_pose(arms.command["q"][0, :12], k)[0] - aloha.tool_pose(home, k)[0] for k in (0, 1)]
    )
    np.testing.assert_allclose(commanded[arm], [0.0, spring, 0.0], atol=0.05 * spring)
    np.testing.assert_array_equal(np.delete(arms.command["q"][0, :12], joints), np.delete(home, joints))
    moved = arms.places() - before
    assert moved[arm, 1] > spring and np.linalg.norm(moved[1 - arm]) < 1e-5
    arms.push_n[:] = 0.0
    arms.run(3000)
    np.testing.assert_allclose(arms.places(), before, atol=1e-4)


def test_an_arm_that_reports_no_torque_follows_the_bare_target_while_the_other_gives_way(aloha: RobotModel) -> None:
    arms = Arms(aloha)
    arms.measuring[aloha.joints_of(0)] = False
    arms.push_n[:] = [0.0, 10.0, 0.0]
    arms.run(2000)
    offset = arms.command["q"][0, :12] - arms.status["q_target"][0, :12]
    assert not offset[:6].any() and np.abs(offset[6:]).max() > 5e-3
    assert not arms.servo.wrenches[0].any()


@pytest.mark.parametrize("arm", [0, 1])
def test_a_force_on_either_tool_stops_both_arms_and_is_named(aloha: RobotModel, arm: int) -> None:
    arms = Arms(RobotModel(replace(aloha.config, contact_force_n=15.0)))
    arms.run(20)
    arms.sway(("right_waist", "left_waist")[arm], 0.4)  # of the arm that isn't touched
    arms.run(800)
    assert int(arms.status["limit_counts"][0, _CONTACT]) == 0 and np.abs(arms.status["qd_target"]).max() > 0.1
    arms.push_n[arm] = [0.0, 0.0, 25.0]
    arms.run(400)
    assert int(arms.status["limits_acting"][0]) >> _CONTACT & 1
    assert int(arms.status["mode"][0]) == MODES.index("stop") and not arms.status["qd_target"].any()
    arms.push_n[:] = 0.0
    arms.run(600)
    assert int(arms.status["mode"][0]) == MODES.index("hold")


@pytest.mark.parametrize("arm", [0, 1])
def test_every_torque_controlled_tool_has_its_own_spring(aloha: RobotModel, arm: int) -> None:
    """Operational space: a push of 5 N moves the tool by 5 N / K, and the other tool not at all."""
    arms = Arms(RobotModel(replace(aloha.config, interface="effort")))
    arms.run(300)
    before = arms.places()
    assert float(arms.status["joint_share"][0]) == 0.0
    arms.push_n[arm] = [0.0, 5.0, 0.0]
    arms.run(2500)
    moved = arms.places() - before
    spring = 5.0 / arms.servo.params.stiffness_n_m
    np.testing.assert_allclose(moved[arm], [0.0, spring, 0.0], atol=0.05 * spring)
    np.testing.assert_allclose(moved[1 - arm], 0.0, atol=1e-6)
    assert float(arms.status["error_m"][0]) == pytest.approx(spring, rel=0.05)  # of whichever arm is off its target
    np.testing.assert_allclose(arms.servo.wrenches[arm, :3], arms.push_n[arm], atol=0.1)


def test_an_arm_without_a_torque_of_its_own_is_held_from_the_first_tick(aloha: RobotModel) -> None:
    """The other arm is driven already; this one was on its brakes."""
    robot = RobotModel(replace(aloha.config, interface="effort"))
    servo, home = ServoCore(robot, ServoParameters.from_config()), robot.config.home_rad
    gravity = pin.computeGeneralizedGravity(robot.model, robot.model.createData(), home)
    assert np.abs(gravity[:6]).max() > 2.0 * servo.params.period_s * robot.config.torque_rate_nm_s[0]
    state, plan, command, status = (np.zeros(1, d) for d in (STATE, PLAN, COMMAND, STATUS))
    state["stamp_ns"], state["q"][0, :12] = MS, home
    state["tau"][0, robot.joints_of(1)] = gravity[robot.joints_of(1)]
    servo.tick(state, plan, False, command, status)
    np.testing.assert_allclose(command["tau"][0, :12], gravity, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), arm=st.sampled_from([0, 1]))
def test_the_joints_offset_is_that_of_the_arm_s_own_tool(aloha: RobotModel, seed: int, arm: int) -> None:
    """J'(J J' + k^2 I)^-1 x, with J from finite differences of the tool's pose."""
    rng, config, params = np.random.default_rng(seed), aloha.config, ServoParameters.from_config()
    q_t, joints, q = config.home_rad + rng.uniform(-0.2, 0.2, 12), aloha.joints_of(arm), np.zeros(12)
    admittance, gain = Admittance(config, params, joints, q), Compliance(params).gain
    q[:] = q_t
    admittance.reset(q_t[joints])
    wrench = np.r_[
        rng.normal(size=3) * params.admittance_deadband_n, rng.normal(size=3) * params.admittance_deadband_nm
    ]
    jacobian = np.ascontiguousarray(aloha.jacobian(q_t, arm))
    for _ in range(2000):
        assert admittance.advance(q_t[joints], jacobian, 2.0 * wrench, gain) == 0
    lever = np.array([1.0, 1.0, 1.0, *3 * [_LENGTH_M]])
    j = lever[:, None] * _differences(aloha, q_t, arm)
    expected = j.T @ np.linalg.solve(j @ j.T + _DAMPING_M**2 * np.eye(6), lever * admittance.offset)
    assert np.abs(expected[joints]).max() > 1e-3
    np.testing.assert_allclose(q - q_t, expected, atol=1e-4 * np.abs(expected).max())


def _differences(robot: RobotModel, q: Float64, arm: int) -> Float64:
    """Jacobian (6,12) of an arm's tool, base axes, by central differences."""
    columns, step = np.zeros((6, 12)), 1e-6
    for i in range(12):
        ends = []
        for sign in (-1.0, 1.0):
            moved = q.copy()
            moved[i] += sign * step
            pose = robot.tool_se3(moved, arm)
            ends.append((pose.translation.copy(), pose.rotation.copy()))
        (before, turned_before), (after, turned_after) = ends
        columns[:3, i] = (after - before) / (2 * step)
        columns[3:, i] = pin.log3(turned_after @ turned_before.T) / (2 * step)
    return columns


def test_a_tool_on_a_joint_of_another_arm_is_refused(aloha: RobotModel) -> None:
    """The mass matrix would have terms between the arms, which every arm for itself leaves out."""
    left, right = aloha.config.arms
    taken = replace(left, joints=left.joints[:5]), replace(right, joints=(left.joints[5], *right.joints))
    with pytest.raises(ConfigError, match=r"left_wrist_rotate.*joints of arm 'left' only"):
        RobotModel(replace(aloha.config, arms=taken))
