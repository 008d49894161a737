"""An arm that takes positions only, driven stiffly in MuJoCo: it follows the target and gives way to what pushes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.admittance import Admittance
from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.compliance import Compliance, settings_record
from vla_control.core.parameters import PHASES, ServoParameters
from vla_control.core.robot import INTERFACES, RobotModel
from vla_control.core.servo import ServoCore
from vla_core.errors import UnknownNameError
from vla_core.records import COMMAND, LIMITS, PLAN, STATE, STATUS
from vla_core.types import ActionChunk, Float64

MS = 1_000_000
_KP = np.array([4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0])  # MuJoCo Menagerie's Panda
_KV = np.array([450.0, 450.0, 350.0, 350.0, 200.0, 200.0, 200.0])


@dataclass
class _Arm:
    """Panda under its own position loop, 1 kHz commands, 2 kHz physics."""

    robot: RobotModel
    measures_torque: bool = True
    wall_x_m: float | None = None

    def __post_init__(self) -> None:
        spec = mujoco.MjSpec.from_file(str(self.robot.config.model_path))
        spec.option.timestep = 0.0005
        if self.wall_x_m is not None:
            plate = spec.worldbody.add_body(name="plate", pos=[self.wall_x_m + 0.02, 0.0, 0.4])
            plate.add_joint(
                name="plate", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[1, 0, 0], stiffness=20_000.0, damping=50.0
            )
            plate.add_geom(name="plate", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.02, 0.4, 0.4], mass=0.5, condim=1)
            plate.gravcomp = 1
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.data.qpos[:7], self.data.qpos[7:9] = self.robot.config.home_rad, 0.02
        mujoco.mj_forward(self.model, self.data)
        self.servo = ServoCore(self.robot, ServoParameters.from_config())
        self.state, self.plan, self.command, self.status = (np.zeros(1, d) for d in (STATE, PLAN, COMMAND, STATUS))
        self.tau: Float64 = self.data.qfrc_bias[:7].copy()
        self.push_n = np.zeros(3)
        self.forces: list[float] = []
        self.ticks = self.heard = 0

    def run(self, ticks: int, heard: bool = True) -> None:
        hand = self.model.site("tool").bodyid[0]
        for _ in range(ticks):
            self.ticks += 1
            state = self.state
            state["tick"], state["stamp_ns"] = self.ticks, self.ticks * MS
            state["q"][0, :7], state["qd"][0, :7] = self.data.qpos[:7], self.data.qvel[:7]
            state["tau"][0, :7] = self.tau if self.measures_torque else 0.0
            if heard:
                self.heard = self.ticks
                self.servo.tick(state, self.plan, False, self.command, self.status)
            else:
                age_s = (self.ticks - self.heard) * 1e-3
                self.servo.tick_without_state(age_s, self.plan, False, self.command, self.status)
            assert not self.command["tau"].any()
            mean = np.zeros(7)
            for _ in range(2):
                error = self.command["q"][0, :7] - self.data.qpos[:7]
                torque = _KP * error - _KV * self.data.qvel[:7] + self.data.qfrc_bias[:7]
                self.data.ctrl[:7] = np.clip(torque, -self.robot.config.torque_nm, self.robot.config.torque_nm)
                self.data.xfrc_applied[hand, :3] = self.push_n
                mean += 0.5 * self.data.ctrl[:7]
                mujoco.mj_step(self.model, self.data)
            self.tau = mean
            if self.wall_x_m is not None:
                self.forces.append(20_000.0 * float(self.data.joint("plate").qpos[0]))

    @property
    def tool(self) -> Float64:
        return self.data.site("tool").xpos.copy()


_REACH_M = np.array([0.05, 0.12, -0.05])


def _reach(home: Float64) -> Float64:
    """Tool positions, 20 steps, m: from home by `_REACH_M`, at rest at both ends."""
    s = np.clip(np.arange(20) / 15.0, 0.0, 1.0)[:, None]
    return home + (10 * s**3 - 15 * s**4 + 6 * s**5) * _REACH_M


@pytest.fixture(scope="module")
def position_robot(robot: RobotModel) -> RobotModel:
    return RobotModel(replace(robot.config, interface="position"))


@pytest.mark.parametrize("measures_torque", [True, False])
def test_in_free_space_the_target_is_followed(
    position_robot: RobotModel, executor: ChunkExecutor, make_chunk: Callable[..., ActionChunk], measures_torque: bool
) -> None:
    arm = _Arm(position_robot, measures_torque)
    arm.run(10)
    home, _ = position_robot.tool_pose(position_robot.config.home_rad)
    executor.accept(make_chunk(_reach(home), 9 * MS), 10 * MS)
    arm.plan[:] = executor.plan
    arm.run(1600)
    np.testing.assert_allclose(arm.command["q"][0, :7], arm.status["q_target"][0, :7], atol=1e-3)
    np.testing.assert_allclose(arm.tool, home + _REACH_M, atol=2e-3)
    if not measures_torque:
        assert not arm.status["wrench"].any()
        np.testing.assert_array_equal(arm.command["q"][0, :7], arm.status["q_target"][0, :7])


def test_pushed_it_gives_way_like_its_spring_and_comes_back(position_robot: RobotModel) -> None:
    arm = _Arm(position_robot)
    arm.run(50)
    rest, params = arm.tool, arm.servo.params
    for phase in ("free", "contact"):
        arm.servo.use(settings_record(replace(params, phase=phase)))
        arm.push_n = np.array([0.0, 10.0, 0.0])
        arm.run(3000)
        stiffness = params.phase_stiffness[PHASES.index(phase)] * params.stiffness_n_m
        spring = (10.0 - params.admittance_deadband_n) / stiffness
        drive = 10.0 / 20_000.0  # at most: the arm's own stiffness
        moved = (arm.tool - rest)[1]
        assert spring < moved < 1.05 * spring + drive
        np.testing.assert_allclose(arm.status["wrench"][0, 1], 10.0, rtol=0.05)
        arm.push_n = np.zeros(3)
        arm.run(3000)
        np.testing.assert_allclose(arm.tool, rest, atol=1e-3)


def test_against_a_stiff_wall_it_settles_at_the_force_of_its_spring(
    position_robot: RobotModel, executor: ChunkExecutor, make_chunk: Callable[..., ActionChunk]
) -> None:
    """Without admittance the arm's own loop presses with 150 N."""
    home, _ = position_robot.tool_pose(position_robot.config.home_rad)
    s = np.clip(np.arange(20) / 18.0, 0.0, 1.0)[:, None]
    way = home + (10 * s**3 - 15 * s**4 + 6 * s**5) * np.array([0.05, 0.0, 0.0])
    steady = []
    for measures_torque in (True, False):
        arm = _Arm(position_robot, measures_torque, wall_x_m=float(home[0]) + 0.04)
        arm.run(10)
        executor.reset(position_robot.config.home_rad, np.full(1, 0.04), 0)
        executor.accept(make_chunk(way, 9 * MS), 10 * MS)
        arm.plan[:] = executor.plan
        arm.run(4000)
        steady.append(np.mean(arm.forces[-500:]))
        if measures_torque:
            asked, _ = position_robot.tool_pose(arm.status["q_target"][0, :7])
            np.testing.assert_allclose(asked, way[-1], atol=1e-3)  # the contact stopped nothing
            apart_m = float((asked - arm.tool)[0])
            assert apart_m > 0.03, "the fingers touch it 27 mm before the tool's point would"
            assert np.ptp(arm.forces[-500:]) < 1.0  # no chatter
            spring = apart_m * ServoParameters.from_config().stiffness_n_m
            np.testing.assert_allclose(steady[0], spring, rtol=0.1)
    assert steady[1] > 4.5 * steady[0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_offset_and_joint_steps_stay_bounded_whatever_pushes(robot: RobotModel, seed: int) -> None:
    rng, config, params = np.random.default_rng(seed), robot.config, ServoParameters.from_config()
    admittance, gain = Admittance(config, params), Compliance(params).gain
    q_t = rng.uniform(config.position_min_rad, config.position_max_rad)
    admittance.reset(q_t)
    jacobian = np.asfortranarray(robot.jacobian(q_t))
    named = 0
    for _ in range(100):
        before = admittance.q.copy()
        named |= admittance.advance(q_t, jacobian, rng.normal(size=6) * 300.0, gain)
        assert np.all(np.abs(admittance.q - before) <= 1e-3 * config.velocity_rad_s + 1e-12)
        assert np.all((admittance.q >= config.position_min_rad) & (admittance.q <= config.position_max_rad))
        assert np.linalg.norm(admittance.offset[:3]) <= params.error_clamp_m + 1e-12
        assert np.linalg.norm(admittance.offset[3:]) <= params.error_clamp_rad + 1e-12
    for _ in range(8000):
        admittance.advance(q_t, jacobian, np.zeros(6), gain)
    np.testing.assert_allclose(admittance.q, q_t, atol=1e-6)
    assert named < 1 << len(LIMITS)


def test_unknown_interface_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    from vla_control.core import robot as module

    loaded = module.load_yaml

    def changed(path: object) -> object:
        return {**loaded(path), "interface": "velocity"}  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load_yaml", changed)
    with pytest.raises(UnknownNameError, match=INTERFACES[1]):
        module.load_robot_config("panda")


@pytest.mark.parametrize("measures_torque", [True, False])
def test_regression_an_arm_that_is_not_heard_of_is_believed_at_its_target(
    position_robot: RobotModel, executor: ChunkExecutor, make_chunk: Callable[..., ActionChunk], measures_torque: bool
) -> None:
    """Without measured torque it was predicted in free fall, and a command at full speed made that good."""
    arm = _Arm(position_robot, measures_torque)
    arm.run(10)
    home, _ = position_robot.tool_pose(position_robot.config.home_rad)
    executor.accept(make_chunk(_reach(home), 9 * MS), 10 * MS)
    arm.plan[:] = executor.plan
    arm.run(400)
    commands = []
    for tick in range(700):
        arm.run(1, heard=tick > 60)
        commands.append(arm.command["q"][0, :7].copy())
    steps = np.diff(commands, axis=0)
    assert np.all(np.abs(np.diff(steps, axis=0)) <= 1.05e-6 * position_robot.config.acceleration_rad_s2)
    assert np.abs(steps[:20]).max() > 1e-4 and np.abs(steps[-100:]).max() < 1e-5
