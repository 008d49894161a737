"""The same motion in every action space, early and late; contracts that don't fit the robot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from space_contracts import (
    ABSOLUTE,
    BASE,
    DELTAS,
    DT_MS,
    GRIPPER,
    JOINTS,
    MODE,
    MS,
    STEPS,
    chunk_of,
    contract_with,
    executor_for,
    name_of,
    sway,
    written,
)

from vla_control.core.action_spaces.composite import ActionSpaces
from vla_control.core.action_spaces.space import Reference
from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel, load_robot_config
from vla_core.contract import load_contract
from vla_core.errors import ChunkError, ConfigError
from vla_core.files import workspace_root


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


@pytest.mark.parametrize("strategy", ["naive_async", "temporal_ensemble", "adaptive_ensemble", "weighted_overlap"])
@pytest.mark.parametrize("part", [p for p in DELTAS if p["reference"] == "measured"], ids=name_of)
def test_strategies_combine_places_and_not_deltas(robot: RobotModel, part: dict[str, Any], strategy: str) -> None:
    """Chunks that agree on the motion have different references: their deltas differ, and their mean means nothing."""
    contract = contract_with(part, GRIPPER)
    executor = executor_for(contract, robot.config.home_rad)
    executor.use(strategy)
    for k, stamp_ms in enumerate(range(0, 700, 130)):
        executor.observe(stamp_ms * MS, sway(np.array([stamp_ms * 1e-3]))[0])
        actions = written(part, sway(1e-3 * (stamp_ms + DT_MS * np.arange(STEPS))), robot)
        answer = chunk_of(contract, np.c_[actions, np.ones(len(actions))], stamp_ms * MS, k + 1)
        executor.accept(answer, (stamp_ms + 110) * MS)
    times_ms = np.arange(800, 1300, 25)
    found = np.array([executor.sample(int(t) * MS).q_rad for t in times_ms])
    np.testing.assert_allclose(found, sway(times_ms * 1e-3), atol=6e-3)


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


def our_contracts() -> list[str]:
    """All but those of benchmarks that move their robot themselves."""
    theirs = {"metaworld_sawyer", "libero_panda", "libero_panda_step"}
    return sorted({p.stem for p in (workspace_root() / "config" / "contracts").glob("*.yaml")} - theirs)


@pytest.mark.parametrize("name", our_contracts())
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
