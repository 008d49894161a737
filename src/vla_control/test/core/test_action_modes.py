"""Modes that move arm or base or end the task, the base's share of a chunk, and grippers by kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from space_contracts import (
    ABSOLUTE,
    BASE,
    DELTAS,
    DT_MS,
    GRIPPER,
    MODE,
    MS,
    STEPS,
    chunk_of,
    contract_with,
    executor_for,
    name_of,
    sway,
)

from vla_control.core.action_spaces.composite import ActionSpaces
from vla_control.core.action_spaces.space import Reference
from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.knots import Knots
from vla_control.core.robot import RobotModel, load_robot_config
from vla_core.contract import Contract
from vla_core.errors import ChunkError
from vla_core.types import Float64

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


def test_absolute_targets_wait_while_the_base_moves(robot: RobotModel) -> None:
    """A step for the base leaves the arm and its gripper where the last step for the arm had brought them."""
    contract = contract_with(ABSOLUTE[0], GRIPPER, BASE, MODE, robot="panda_mobile")
    spaces = ActionSpaces(contract, load_robot_config("panda_mobile"), "continuous")
    reference = Reference(np.full(7, 9.0), np.zeros(7), np.full(1, 0.9))
    actions = np.c_[np.arange(6)[:, None] * np.ones(7), 0.1 * np.arange(6), np.ones((6, 3)), [1, 0, 1, 0, 2, 0]]
    rows = spaces.absolute(actions, reference)
    np.testing.assert_allclose(spaces.arm_values(rows)[:, 0], [9, 1, 1, 3, 3, 3])
    steps = spaces.gripper_steps(rows, np.zeros(1), np.ones(1))
    np.testing.assert_allclose(steps.opening[:, 0], [0.9, 0.1, 0.1, 0.3, 0.3, 0.3])
    np.testing.assert_allclose(spaces.twists(rows)[:, 0], [1, 0, 1, 0, 0, 0])
    assert spaces.end(rows) == 4


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


def test_an_end_that_comes_late_is_an_end_all_the_same() -> None:
    """Steps whose time is over are of no use; that the policy has ended the task still is."""
    contract, executor, _ = rt1()
    executor.accept(chunk_of(contract, rt1_actions([0] * STEPS), 0), 10 * MS)
    late = 500 * MS
    with pytest.raises(ChunkError, match="last step was due"):
        executor.accept(chunk_of(contract, rt1_actions([0]), 100 * MS, 2), late)
    executor.accept(chunk_of(contract, rt1_actions([2]), 100 * MS, 3), late)
    assert executor.state(1_500 * MS).mode == "terminated"


def test_a_column_of_its_own_ends_the_task_too(robot: RobotModel) -> None:
    contract = contract_with(ABSOLUTE[0], GRIPPER, {"space": "terminate", "names": ["done"], "units": ["probability"]})
    executor = executor_for(contract, robot.config.home_rad)
    path = sway(DT_MS * 1e-3 * np.arange(STEPS))
    ends = np.where(np.arange(STEPS) < 10, 0.1, 0.9)
    executor.accept(chunk_of(contract, np.c_[path, np.ones(STEPS), ends], 0), 10 * MS)
    assert executor.state(3_000 * MS).mode == "terminated"
    assert np.abs(executor.sample(3_000 * MS).q_rad - path[10]).max() < 0.02


@pytest.mark.parametrize("part", [RT1, None], ids=["beside an arm", "alone"])
def test_every_step_of_a_base_is_driven_to_its_end(part: dict[str, object] | None) -> None:
    """The last one as well, which has no step after it; and from the take-over on, however late the arm joins."""
    if part is not None:
        contract, executor, _ = rt1()
        actions = rt1_actions([1] * STEPS)
    else:
        contract = contract_with(BASE, robot="panda_mobile")
        executor = executor_for(contract, RobotModel.load("panda_mobile").config.home_rad)
        actions = np.tile([0.2, 0.0, 0.1], (STEPS, 1))
    executor.accept(chunk_of(contract, actions, 0), 10 * MS)
    twists = np.array([executor.base_twist(t * MS) for t in range(10, 3000)])
    moving = np.flatnonzero(twists[:, 0]) + 10
    assert np.array_equal(moving, np.arange(moving[0], moving[-1] + 1)), "no gap"
    branch_ms = 10 + 1e3 * executor.params.commit_s
    assert moving[0] <= branch_ms + 15 and abs(moving[-1] + 1 - STEPS * DT_MS) <= 1e3 * executor.params.knot_dt_s


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
    branch_s = 0.01 + executor.params.commit_s  # it stands until then
    assert driven == pytest.approx(0.3 * (STEPS * DT_MS * 1e-3 - branch_s), rel=0.02)
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
