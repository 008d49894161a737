"""Two arms with a gripper each through robot model, chunk, plan and servo; one arm is the special case."""

from __future__ import annotations

from dataclasses import replace

import mujoco
import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters, ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_core.actions import ActionAlgebra
from vla_core.contract import Contract, load_contract
from vla_core.errors import ChunkError
from vla_core.records import COMMAND, LIMITS, PLAN, STATE, STATUS
from vla_core.types import ActionChunk, Float64

MS = 1_000_000
OPEN = np.array([0.069, 0.069])


@pytest.fixture(scope="module")
def aloha() -> RobotModel:
    return RobotModel.load("aloha")


@pytest.fixture(scope="module")
def contract() -> Contract:
    return load_contract("aloha")


@pytest.fixture
def executor(aloha: RobotModel, contract: Contract) -> ChunkExecutor:
    executor = ChunkExecutor(aloha, contract, ExecutorParameters.from_config())
    executor.reset(aloha.config.home_rad, OPEN, 0)
    return executor


def chunk(contract: Contract, robot: RobotModel, stamp_ns: int = 0, **columns: Float64 | float) -> ActionChunk:
    """50 steps at home with open grippers; `columns` replaces actions by name, scalar or (50,)."""
    home = dict(zip(robot.config.joints, robot.config.home_rad, strict=True))
    actions = np.stack([np.full(50, home.get(name, 1.0)) for name in contract.action_names], axis=1)
    for name, values in columns.items():
        actions[:, contract.action_names.index(name)] = values
    c = contract
    return ActionChunk(stamp_ns, 1, "test", c.hash, c.action_space, c.action_names, c.dt_s, actions.astype(np.float32))


@given(seed=st.integers(0, 2**31))
def test_dynamics_and_tools_equal_those_of_mujoco(aloha: RobotModel, seed: int) -> None:
    rng, config = np.random.default_rng(seed), aloha.config
    model = _mujoco(str(config.model_path))
    data = mujoco.MjData(model)
    q = rng.uniform(config.position_min_rad, config.position_max_rad)
    place = [int(model.joint(name).qposadr[0]) for name in config.joints]
    rate = [int(model.joint(name).dofadr[0]) for name in config.joints]
    data.qpos[:] = 0.25 * config.grippers[0].max_width_m
    data.qpos[place] = q
    mujoco.mj_forward(model, data)
    mass, jacobian = np.zeros((model.nv, model.nv)), np.zeros((6, model.nv))
    mujoco.mj_fullM(model, mass, data.qM)
    terms = aloha.model.createData()
    pin.computeAllTerms(aloha.model, terms, q, np.zeros(12))
    np.testing.assert_allclose(np.triu(terms.M), np.triu(mass[np.ix_(rate, rate)]), atol=1e-9)
    np.testing.assert_allclose(terms.nle, data.qfrc_bias[rate], atol=1e-9)
    for arm, each in enumerate(config.arms):
        site = model.site(each.tool_frame).id
        mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
        np.testing.assert_allclose(aloha.tool_pose(q, arm)[0], data.site_xpos[site], atol=1e-9)
        np.testing.assert_allclose(aloha.jacobian(q, arm), jacobian[:, rate], atol=1e-9)


_models: dict[str, mujoco.MjModel] = {}


def _mujoco(path: str) -> mujoco.MjModel:
    if path not in _models:
        _models[path] = mujoco.MjModel.from_xml_path(path)
    return _models[path]


def test_each_gripper_follows_its_own_column_by_time(
    executor: ChunkExecutor, contract: Contract, aloha: RobotModel
) -> None:
    left, right = np.r_[np.ones(25), np.zeros(25)], np.r_[np.full(10, 0.5), np.ones(40)]
    executor.accept(chunk(contract, aloha, left_gripper=left, right_gripper=right), MS)
    widths = np.array([executor.sample(t * MS).gripper_width_m for t in (150, 300, 600, 3000)])
    np.testing.assert_allclose(widths / 0.069, [[1.0, 0.5], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]], atol=1e-6)


def test_hesitant_grippers_each_stay_as_they_are_in_binary_mode(aloha: RobotModel, contract: Contract) -> None:
    executor = ChunkExecutor(aloha, contract, replace(ExecutorParameters.from_config(), gripper_mode="binary"))
    executor.reset(aloha.config.home_rad, np.array([0.069, 0.0]), 0)
    executor.accept(chunk(contract, aloha, left_gripper=0.5, right_gripper=0.5), MS)
    np.testing.assert_allclose(executor.sample(900 * MS).gripper_width_m, [0.069, 0.0])


def test_both_arms_move_by_one_chunk_and_each_by_its_own_columns(
    executor: ChunkExecutor, contract: Contract, aloha: RobotModel
) -> None:
    t = np.linspace(0.0, 1.0, 50)
    ramp = 0.3 * (10 * t**3 - 15 * t**4 + 6 * t**5)
    executor.accept(chunk(contract, aloha, left_waist=ramp, right_waist=-ramp), MS)
    q = executor.sample(2000 * MS).q_rad - aloha.config.home_rad
    assert q[[0, 6]] == pytest.approx([0.3, -0.3], abs=5e-3)
    assert np.abs(np.delete(q, [0, 6])).max() < 1e-6


def test_a_chunk_of_one_arm_is_refused(executor: ChunkExecutor, contract: Contract, aloha: RobotModel) -> None:
    whole = chunk(contract, aloha)
    with pytest.raises(ChunkError, match="action space 'joint_position' with"):
        executor.accept(replace(whole, action_names=whole.action_names[:7], actions=whole.actions[:, :7]), MS)


class Line:
    """A servo whose arms are always where its last command wanted them."""

    def __init__(self, robot: RobotModel, plan: np.ndarray) -> None:
        self.servo, self.plan = ServoCore(robot, ServoParameters.from_config()), plan
        self.state, self.command, self.status = (np.zeros(1, record) for record in (STATE, COMMAND, STATUS))
        self.state["q"][0, :12], self.state["gripper_width"][0, :2] = robot.config.home_rad, OPEN

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.state["tick"] += 1
            self.state["stamp_ns"] += MS
            self.servo.tick(self.state, self.plan, False, self.command, self.status)
            self.state["q"][0, :12] = self.command["q"][0, :12]


def test_servo_commands_both_arms_and_both_grippers(
    executor: ChunkExecutor, contract: Contract, aloha: RobotModel
) -> None:
    executor.accept(chunk(contract, aloha, left_elbow=1.3, right_gripper=0.0), MS)
    line = Line(aloha, executor.plan)
    line.run(1500)
    home = aloha.config.home_rad
    assert line.command["q"][0, [2, 8]] == pytest.approx([1.3, home[8]], abs=2e-3)
    np.testing.assert_allclose(line.command["gripper_width"][0, :2], [0.069, 0.0])
    np.testing.assert_allclose(line.command["gripper_force"][0, :3], [20.0, 20.0, 0.0])
    np.testing.assert_allclose(line.status["gripper_width"][0, :2], OPEN)


@pytest.mark.parametrize("gripper", [0, 1])
def test_a_width_of_any_gripper_that_is_not_a_number_is_a_bad_state(
    executor: ChunkExecutor, contract: Contract, aloha: RobotModel, gripper: int
) -> None:
    executor.accept(chunk(contract, aloha), MS)
    line = Line(aloha, executor.plan)
    line.run(50)
    line.state["gripper_width"][0, gripper] = np.nan
    line.run(5)
    assert int(line.status["limit_counts"][0, LIMITS.index("non_finite_input")]) == 5
    assert np.isfinite(line.command["gripper_width"]).all() and np.isfinite(line.command["q"]).all()


def test_a_plan_with_a_bad_width_for_the_second_gripper_is_refused(
    executor: ChunkExecutor, contract: Contract, aloha: RobotModel
) -> None:
    executor.accept(chunk(contract, aloha, left_waist=0.05), MS)
    plan = np.zeros(1, PLAN)
    plan[:] = executor.plan
    line = Line(aloha, plan)
    line.run(20)
    plan["sequence"], plan["gripper_width"][0, 3, 1] = 2, np.nan
    line.run(5)
    assert int(line.status["limit_counts"][0, LIMITS.index("non_finite_input")]) == 1
    assert np.isfinite(line.command["gripper_width"]).all()


def test_grippers_hold_their_values_between_steps_while_joints_are_interpolated(contract: Contract) -> None:
    algebra = ActionAlgebra(contract.action_names)
    actions = np.zeros((2, 14))
    actions[1] = 1.0
    (middle,) = algebra.at(actions, np.array([0.5]))
    grippers = [contract.action_names.index(name) for name in ("left_gripper", "right_gripper")]
    assert algebra.held == grippers
    np.testing.assert_allclose(middle[grippers], 0.0)
    np.testing.assert_allclose(np.delete(middle, grippers), 0.5)
