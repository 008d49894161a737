"""The same motion in every action space, early and late; modes, grippers, the base's share of a chunk."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.action_spaces.composite import ActionSpaces
from vla_control.core.action_spaces.space import Reference
from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.ik import ChunkIk
from vla_control.core.knots import Knots
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel, load_robot_config
from vla_core import tool_steps
from vla_core.contract import Contract, load_contract, parse_contract
from vla_core.errors import ChunkError, ConfigError
from vla_core.files import config_path, load_yaml, workspace_root
from vla_core.types import ActionChunk, Float64

MS = 1_000_000
DT_MS, STEPS = 50, 20
JOINTS = [f"panda_joint{i}" for i in range(1, 8)]
TOOL = {"names": ["dx", "dy", "dz", "rx", "ry", "rz"], "units": ["m", "m", "m", "rad", "rad", "rad"]}
GRIPPER = {"space": "gripper", "kind": "position", "names": ["gripper"], "units": ["0 closed .. 1 open"]}
BASE = {"space": "base_twist", "names": ["vx", "vy", "wz"], "units": ["m/s", "m/s", "rad/s"]}
MODE = {"space": "mode", "names": ["mode"], "units": ["index"]}
DELTAS = [
    {"space": space, "relative_to": relative_to, "reference": reference, **columns, **frame}
    for space, columns, frames in [
        ("joint_delta", {"names": JOINTS, "units": ["rad"] * 7}, [{}]),
        ("tool_delta", TOOL, [{"frame": "base"}, {"frame": "tool"}]),
    ]
    for frame in frames
    for relative_to in ("previous_step", "chunk_start")
    for reference in ("commanded", "measured")
]
ABSOLUTE = [
    {"space": "joint_position", "names": JOINTS, "units": ["rad"] * 7},
    {"space": "tool_pose", "names": ["x", "y", "z", "qx", "qy", "qz", "qw"], "units": ["m"] * 3 + ["1"] * 4},
]


def name_of(part: dict[str, Any]) -> str:
    return "-".join(str(part[k]) for k in ("space", "frame", "relative_to", "reference") if k in part)


def contract_with(*parts: dict[str, Any], robot: str = "panda") -> Contract:
    data = copy.deepcopy(load_yaml(config_path("contracts", "tabletop_panda")))
    data["robot"], data["action"] = robot, {"rate_hz": 1000 / DT_MS, "horizon": STEPS, "parts": list(parts)}
    return parse_contract(data, Path("test.yaml"))


def executor_for(contract: Contract, q: Float64, gripper_mode: str = "continuous") -> ChunkExecutor:
    params = replace(ExecutorParameters.from_config(), gripper_mode=gripper_mode, ik_posture_rate_1_s=0.0)
    executor = ChunkExecutor(RobotModel.load(contract.robot), contract, params)
    executor.reset(q, np.array([0.08]), 0)
    return executor


def chunk_of(contract: Contract, actions: Float64, stamp_ns: int, sequence: int = 1) -> ActionChunk:
    return ActionChunk(
        stamp_ns, sequence, "test", contract.hash, contract.action_space, contract.action_names, contract.dt_s,
        np.asarray(actions, np.float32),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _sway() -> Float64:
    """Every 10 ms for 3 s; by inverse kinematics, so that the elbow does what it does for tool poses too."""
    robot = RobotModel.load("panda")
    params = replace(ExecutorParameters.from_config(), ik_posture_rate_1_s=0.0)
    position, quaternion = robot.tool_pose(robot.config.home_rad)
    rise = 1.0 - np.cos(1.5 * 0.01 * np.arange(300))[:, None]
    home = np.concatenate([position, quaternion])
    poses = tool_steps.moved(home[None], rise * np.array([-0.03, 0.06, 0.05, 0.1, -0.05, 0.2]), "base")
    return ChunkIk(robot, params).solve(poses[:, :3], poses[:, 3:], robot.config.home_rad, 0.01).q_rad


def sway(times_s: Float64) -> Float64:
    """Joint positions (N,J) that leave home slowly, tool and elbow."""
    path = _sway()
    return np.stack([np.interp(times_s, 0.01 * np.arange(len(path)), column) for column in path.T], 1)


def written(part: dict[str, Any], path: Float64, robot: RobotModel) -> Float64:
    """A joint path (N,7), whose first place is the reference, as actions of one part."""
    poses = np.array([np.concatenate(robot.tool_pose(q)) for q in path])
    rows = path if part["space"].startswith("joint") else poses
    if part in ABSOLUTE:
        return rows
    before = rows[:-1] if part["relative_to"] == "previous_step" else rows[:1]
    after = rows[1:] if part["relative_to"] == "previous_step" else rows
    return after - before if rows is path else tool_steps.between(before, after, part["frame"])


@pytest.mark.parametrize("part", DELTAS, ids=name_of)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_absolute_to_deltas_and_back(robot: RobotModel, part: dict[str, Any], seed: int) -> None:
    """Round trip, both ways, from a reference that isn't the path's beginning."""
    rng = np.random.default_rng(seed)
    contract = contract_with(part, GRIPPER)
    spaces = ActionSpaces(contract, robot.config, "continuous")
    q = robot.config.home_rad + rng.uniform(-0.3, 0.3, 7)
    reference = Reference(q, np.concatenate(robot.tool_pose(q)), np.ones(1))
    actions = np.concatenate([rng.uniform(-0.2, 0.2, (STEPS, len(part["names"]))), rng.uniform(0, 1, (STEPS, 1))], 1)
    rows = spaces.absolute(actions, reference)
    assert len(rows) == STEPS + (part["relative_to"] == "previous_step")
    np.testing.assert_allclose(spaces.by_contract(rows, reference), actions, atol=1e-9)
    again = spaces.absolute(spaces.by_contract(rows, reference), reference)
    np.testing.assert_allclose(again, rows, atol=1e-9)


@pytest.mark.parametrize("part", DELTAS + ABSOLUTE, ids=name_of)
def test_same_motion_in_every_space_is_the_same_joint_path(robot: RobotModel, part: dict[str, Any]) -> None:
    home = robot.config.home_rad
    contract = contract_with(part, GRIPPER)
    executor = executor_for(contract, home)
    executor.observe(0, home)
    actions = written(part, sway(DT_MS * 1e-3 * np.arange(STEPS)), robot)
    executor.accept(chunk_of(contract, np.c_[actions, np.ones(len(actions))], 0), 10 * MS)
    times_ms = np.arange(300, 900, 25)
    found = np.array([executor.sample(int(t) * MS).q_rad for t in times_ms])
    np.testing.assert_allclose(found, sway(times_ms * 1e-3), atol=4e-3)


@pytest.mark.parametrize("part", DELTAS, ids=name_of)
def test_a_late_chunk_of_deltas_leads_along_the_same_path(robot: RobotModel, part: dict[str, Any]) -> None:
    """The reference is the arm at the capture stamp, not where it has got to by the time of the answer."""
    home, contract = robot.config.home_rad, contract_with(part, GRIPPER)
    capture_ms, reached = 300, []
    first = written(part, sway(DT_MS * 1e-3 * np.arange(STEPS)), robot)
    for delay_ms in (20, 350):
        executor = executor_for(contract, home)
        executor.observe(0, home)
        executor.accept(chunk_of(contract, np.c_[first, np.ones(len(first))], 0), 10 * MS)
        for t in range(10, 1000, 10):
            executor.observe(t * MS, sway(np.array([t * 1e-3]))[0])
        then = sway(1e-3 * (capture_ms + DT_MS * np.arange(STEPS)))
        second = written(part, then, robot)
        executor.accept(chunk_of(contract, np.c_[second, np.ones(len(second))], capture_ms * MS, 2),
                        (capture_ms + delay_ms) * MS)  # fmt: skip
        reached.append([executor.sample(t * MS).q_rad for t in range(1000, 1200, 20)])
        np.testing.assert_allclose(reached[-1], sway(1e-3 * np.arange(1000, 1200, 20)), atol=8e-3)
    np.testing.assert_allclose(reached[1], reached[0], atol=2e-3)


def test_the_running_motion_is_told_in_the_contracts_own_space(robot: RobotModel) -> None:
    part = next(p for p in DELTAS if name_of(p) == "tool_delta-base-previous_step-commanded")
    contract = contract_with(part, GRIPPER)
    executor = executor_for(contract, robot.config.home_rad)
    actions = np.zeros((STEPS, 7))
    actions[:, 2], actions[:, 6] = 0.002, 0.5
    executor.accept(chunk_of(contract, actions, 0), 10 * MS)
    running = executor.running()
    told = running.actions[: running.fresh]
    assert running.fresh == STEPS and np.all(told[:, 6] == 0.5)
    np.testing.assert_allclose(told[:, :6].sum(0), actions[:, :6].sum(0), atol=2e-3)  # blended, so not step by step
    state = executor.state(210 * MS)
    assert state.steps_consumed + state.steps_left == STEPS and state.action_names == contract.action_names


def test_a_single_step_is_executed_in_its_period(robot: RobotModel) -> None:
    """OpenVLA's chunk of one: the step is done one period after the picture."""
    contract = load_contract("openvla_panda")
    executor = executor_for(contract, robot.config.home_rad)
    position, _ = robot.tool_pose(robot.config.home_rad)
    executor.accept(chunk_of(contract, np.array([[0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 1.0]]), 0), 20 * MS)
    reached, _ = robot.tool_pose(executor.sample(1500 * MS).q_rad)
    np.testing.assert_allclose(reached - position, [0.0, 0.01, 0.0], atol=1.5e-3)


def test_deltas_from_before_a_stop_are_refused(robot: RobotModel) -> None:
    contract = contract_with(DELTAS[0], GRIPPER)
    executor = executor_for(contract, robot.config.home_rad)
    executor.stop(100 * MS)
    executor.reset(robot.config.home_rad, np.array([0.08]), 600 * MS)
    with pytest.raises(ChunkError, match=r"deltas from 0\.10 s before the arm was stopped or reset"):
        executor.accept(chunk_of(contract, np.zeros((STEPS, 8)), 500 * MS), 700 * MS)


def test_without_a_measurement_there_are_no_deltas_from_one(robot: RobotModel) -> None:
    contract = contract_with(DELTAS[1], GRIPPER)
    assert contract.action_parts[0].reference == "measured"
    executor = executor_for(contract, robot.config.home_rad)
    with pytest.raises(ChunkError, match="no measured joint state near the capture stamp"):
        executor.accept(chunk_of(contract, np.zeros((STEPS, 8)), 0), 20 * MS)


@pytest.mark.parametrize(
    ("parts", "robot_name", "message"),
    [
        ([{**ABSOLUTE[0], "names": [*JOINTS[:6], "elbow"]}], "panda", r"without actions \['panda_joint7'\]"),
        ([ABSOLUTE[0], ABSOLUTE[1]], "panda", "joint_position and tool_pose; expected one part that moves the arm"),
        ([ABSOLUTE[0], BASE], "panda", "base_twist for 'panda', which has no base"),
        ([{**GRIPPER, "names": ["claw"]}], "panda", r"gripper 'claw'; expected one of \['gripper'\]"),
        ([DELTAS[0], MODE, DELTAS[5]], "panda", "joint_delta and tool_delta"),
    ],
)  # fmt: skip
def test_a_contract_that_does_not_fit_the_robot_is_refused(parts: list, robot_name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ActionSpaces(contract_with(*parts), load_robot_config(robot_name), "continuous")


def test_a_differential_base_has_no_sideways_velocity(robot: RobotModel) -> None:
    base = load_robot_config("panda_mobile").base
    config = replace(robot.config, base=replace(base, drive="differential"))
    with pytest.raises(ConfigError, match=r"\['vy'\] for the differential base"):
        ActionSpaces(contract_with(ABSOLUTE[0], BASE), config, "continuous")


@pytest.mark.parametrize("name", sorted(p.stem for p in (workspace_root() / "config" / "contracts").glob("*.yaml")))
def test_every_contract_moves_its_robot(name: str) -> None:
    """What stands in config/contracts can be executed, not only parsed."""
    contract = load_contract(name)
    robot = RobotModel.load(contract.robot)
    home, grippers = robot.config.home_rad, robot.gripper_count
    executor = ChunkExecutor(robot, contract, ExecutorParameters.from_config())
    executor.reset(home, np.zeros(grippers), 0)
    executor.observe(0, home)
    reference = Reference(home, np.concatenate(robot.tool_pose(home)), np.zeros(grippers))
    spaces = ActionSpaces(contract, robot.config, "continuous")
    if spaces.reference:
        actions = np.zeros((contract.horizon, len(contract.action_names)))
    else:
        columns = {"joint_position": home, "tool_pose": reference.pose, "gripper": np.zeros(1)}
        actions = np.zeros((contract.horizon, len(contract.action_names)))
        for part in contract.action_parts:
            actions[:, part.columns] = columns[part.space]
    executor.accept(chunk_of(contract, actions, 0), 10 * MS)
    np.testing.assert_allclose(executor.sample(2_000 * MS).q_rad, home, atol=5e-3)


# -- modes, base, grippers --------------------------------------------------------------------------------------------

RT1 = next(p for p in DELTAS if name_of(p) == "tool_delta-base-previous_step-commanded")


def rt1_actions(modes: list[int]) -> Float64:
    """Every step would lift the tool by 2 mm, open the gripper halfway and drive at 0.2 m/s and 0.1 rad/s."""
    actions = np.zeros((len(modes), 11))
    actions[:, 2], actions[:, 6], actions[:, 7], actions[:, 9], actions[:, 10] = 0.002, 0.5, 0.2, 0.1, modes
    return actions


def rt1() -> tuple[Contract, ChunkExecutor, RobotModel]:
    contract = contract_with(RT1, GRIPPER, BASE, MODE, robot="panda_mobile")
    robot = RobotModel.load("panda_mobile")
    return contract, executor_for(contract, robot.config.home_rad), robot


def test_each_step_moves_the_arm_or_the_base() -> None:
    contract, executor, robot = rt1()
    height = robot.tool_pose(robot.config.home_rad)[0][2]
    executor.accept(chunk_of(contract, rt1_actions([1] * 8 + [0] * 12), 0), 10 * MS)
    for t, moves in ((100, True), (350, True), (450, False), (900, False)):
        np.testing.assert_allclose(executor.base_twist(t * MS), [0.2, 0.0, 0.1] if moves else np.zeros(3), atol=1e-6)
    heights = [robot.tool_pose(executor.sample(t * MS).q_rad)[0][2] - height for t in (300, 700, 2000)]
    np.testing.assert_allclose(heights, [0.0, 0.012, 0.024], atol=1.5e-3)
    widths = [executor.sample(t * MS).gripper_width_m[0] for t in (350, 450)]
    np.testing.assert_allclose(widths, [0.08, 0.04], atol=1e-9)


@pytest.mark.parametrize("ends_at", [0, 1, 7, 19])
def test_terminate_ends_in_a_controlled_stop_and_is_told(ends_at: int) -> None:
    contract, executor, robot = rt1()
    modes = [0] * ends_at + [2] + [0] * (STEPS - ends_at - 1)
    executor.accept(chunk_of(contract, rt1_actions(modes), 0), 10 * MS)
    if ends_at > 2:
        assert executor.state((ends_at - 1) * DT_MS * MS).mode == "tracking"
    state = executor.state(3_000 * MS)
    assert (state.mode, state.starved_s) == ("terminated", 0.0)
    rise = robot.tool_pose(executor.sample(3_000 * MS).q_rad)[0][2] - robot.tool_pose(robot.config.home_rad)[0][2]
    assert rise == pytest.approx(0.002 * ends_at, abs=1.5e-3)
    samples = [executor.sample(t * MS) for t in range(10, 3000, 2)]
    jerk = np.diff([s.qdd_rad_s2 for s in samples], axis=0) / 2e-3
    assert np.all(np.abs(jerk) <= 1.01 * robot.config.jerk_rad_s3)
    with pytest.raises(ChunkError, match="after the policy has ended the task"):
        executor.accept(chunk_of(contract, rt1_actions([0] * STEPS), 2_900 * MS, 2), 3_000 * MS)
    executor.reset(robot.config.home_rad, np.array([0.08]), 3_100 * MS)
    executor.accept(chunk_of(contract, rt1_actions([0] * STEPS), 3_100 * MS, 3), 3_120 * MS)
    assert executor.state(3_200 * MS).mode == "tracking"


def test_a_newer_chunk_takes_the_end_back_while_it_has_not_come() -> None:
    contract, executor, _ = rt1()
    executor.accept(chunk_of(contract, rt1_actions([0] * 12 + [2] * 8), 0), 10 * MS)
    executor.accept(chunk_of(contract, rt1_actions([0] * STEPS), 200 * MS, 2), 220 * MS)
    assert executor.state(3_000 * MS).mode == "holding"


def test_a_column_of_its_own_ends_the_task_too(robot: RobotModel) -> None:
    contract = contract_with(ABSOLUTE[0], GRIPPER, {"space": "terminate", "names": ["done"], "units": ["probability"]})
    executor = executor_for(contract, robot.config.home_rad)
    path = sway(DT_MS * 1e-3 * np.arange(STEPS))
    ends = np.where(np.arange(STEPS) < 10, 0.1, 0.9)
    executor.accept(chunk_of(contract, np.c_[path, np.ones(STEPS), ends], 0), 10 * MS)
    assert executor.state(3_000 * MS).mode == "terminated"
    assert np.abs(executor.sample(3_000 * MS).q_rad - path[10]).max() < 0.02


def test_a_mode_that_there_is_not_is_refused() -> None:
    contract, executor, _ = rt1()
    actions = rt1_actions([0] * STEPS)
    actions[3, 10] = 1.5
    with pytest.raises(ChunkError, match=r"step 3 with mode 1\.5; expected one of: 0 arm, 1 base, 2 terminate"):
        executor.accept(chunk_of(contract, actions, 0), 10 * MS)


def test_base_and_arm_keep_one_time_base(robot: RobotModel) -> None:
    """Where the arm's limits slow a chunk down, the base drives the same way in the longer time."""
    parts = [{**ABSOLUTE[0]}, BASE]
    contract = contract_with(*parts, robot="panda_mobile")
    executor = executor_for(contract, robot.config.home_rad)
    times_s = DT_MS * 1e-3 * np.arange(STEPS)
    path = robot.config.home_rad + 1.4 * (1 - np.cos(2.4 * times_s))[:, None] * np.eye(7)[0]
    twist = np.tile([0.3, 0.0, 0.2], (STEPS, 1))
    executor.accept(chunk_of(contract, np.c_[path, twist], 0), 10 * MS)
    assert executor.state(10 * MS).chunks_stretched == 1
    step_s = 1e-3
    driven = sum(executor.base_twist(t * MS)[0] for t in range(10, 4000)) * step_s
    assert driven == pytest.approx(0.3 * STEPS * DT_MS * 1e-3, rel=0.06)
    assert 0.0 < executor.base_twist(500 * MS)[0] < 0.3
    executor.stop(600 * MS)
    np.testing.assert_array_equal(executor.base_twist(601 * MS), 0.0)


@pytest.mark.parametrize(
    ("kind", "values", "openings", "forces"),
    [
        ("position", [-0.2, 0.3, 0.5, 1.4], [0.0, 0.3, 0.5, 1.0], [1, 1, 1, 1]),
        ("binary", [0.5, 0.39, 0.55, 0.61], [1.0, 0.0, 0.0, 1.0], [1, 1, 1, 1]),
        ("effort", [0.01, 0.4, 0.0, -0.7], [1.0, 0.0, 0.0, 1.0], [0.5, 0.4, 0.4, 0.7]),
    ],
)
def test_gripper_columns_by_kind(robot: RobotModel, kind: str, values: list, openings: list, forces: list) -> None:
    contract = contract_with(ABSOLUTE[0], {**GRIPPER, "kind": kind})
    spaces = ActionSpaces(contract, robot.config, "continuous")
    rows = np.zeros((4, 8))
    rows[:, 7] = values
    steps = spaces.gripper_steps(rows, np.array([1.0]), np.array([0.5]))
    np.testing.assert_allclose(steps.opening[:, 0], openings)
    np.testing.assert_allclose(steps.force[:, 0], forces)


def test_an_effort_becomes_a_width_and_a_force_of_the_plan(robot: RobotModel) -> None:
    """Closing with a quarter of the force, then nothing said: the gripper keeps what it was told."""
    contract = contract_with(ABSOLUTE[0], {**GRIPPER, "kind": "effort"})
    executor = executor_for(contract, robot.config.home_rad)
    effort = np.r_[np.zeros(6), np.full(6, 0.25), np.zeros(8)]
    executor.accept(chunk_of(contract, np.c_[np.tile(robot.config.home_rad, (STEPS, 1)), effort], 0), 10 * MS)
    plan = Knots(executor.plan)
    told = [(plan.width_at(t * MS)[0], plan.force_at(t * MS)[0]) for t in (200, 400, 800, 3000)]
    np.testing.assert_allclose(told, [(0.08, 40.0), (0.0, 10.0), (0.0, 10.0), (0.0, 10.0)], atol=1e-9)
    executor.stop(850 * MS)
    assert Knots(executor.plan).force_at(2_000 * MS)[0] == 10.0


def test_the_servo_passes_the_force_of_the_plan_on(robot: RobotModel, make_rig: Callable) -> None:
    contract = contract_with(ABSOLUTE[0], {**GRIPPER, "kind": "effort"})
    rig, executor = make_rig(), executor_for(contract, robot.config.home_rad)
    rig.run(5)
    assert rig.command["gripper_force"][0, 0] == robot.config.grippers[0].max_force_n
    effort = np.r_[np.zeros(4), np.full(16, 0.25)]
    executor.accept(chunk_of(contract, np.c_[np.tile(robot.config.home_rad, (STEPS, 1)), effort], 0), 10 * MS)
    rig.follow(executor)
    rig.run(300)
    assert rig.command["gripper_force"][0, 0] == 10.0 and rig.command["gripper_width"][0, 0] == 0.0
