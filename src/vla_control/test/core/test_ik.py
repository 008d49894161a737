"""Poses within reach are met, poses a little out of reach are approached, others are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.ik import ChunkIk
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_core.errors import ChunkError

PARAMS = ExecutorParameters.from_config()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_reachable_path_is_met_within_limits_and_without_jumps(robot: RobotModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = robot.config
    middle = 0.5 * (config.position_min_rad + config.position_max_rad)
    start = np.clip(config.home_rad + rng.uniform(-0.4, 0.4, 7), middle - 1.2, middle + 1.2)
    goal = start + rng.uniform(-0.3, 0.3, 7)
    poses = [robot.tool_pose(start + s * (goal - start)) for s in np.linspace(0, 1, 20)]
    positions, quaternions = (np.array(column) for column in zip(*poses, strict=True))
    path = ChunkIk(robot, PARAMS).solve(positions, quaternions, start, 0.05)
    assert path.error_m.max() < 1e-4 and path.error_rad.max() < 1e-3
    assert np.all(path.q_rad >= config.position_min_rad) and np.all(path.q_rad <= config.position_max_rad)
    assert np.abs(np.diff(path.q_rad, axis=0)).max() < 0.15
    for q, position in zip(path.q_rad, positions, strict=True):
        np.testing.assert_allclose(robot.tool_pose(q)[0], position, atol=1e-4)


def test_null_space_returns_to_the_home_posture(robot: RobotModel) -> None:
    """The elbow, swung aside with the tool in place, comes back while the tool keeps its pose."""
    home = robot.config.home_rad
    position, quaternion = robot.tool_pose(home)
    _, _, rows = np.linalg.svd(robot.jacobian(home))
    ik = ChunkIk(robot, PARAMS)
    start = ik.solve(position[None], quaternion[None], home + 0.3 * rows[-1], 1e-9).q_rad[0]
    path = ik.solve(np.tile(position, (60, 1)), np.tile(quaternion, (60, 1)), start, 0.05)
    assert np.linalg.norm(path.q_rad[-1] - home) < 0.35 * np.linalg.norm(start - home)
    assert path.error_m.max() < 1e-4


def test_sign_of_the_quaternion_does_not_matter(robot: RobotModel) -> None:
    home = robot.config.home_rad
    position, quaternion = robot.tool_pose(home)
    path = ChunkIk(robot, PARAMS).solve(np.tile(position, (2, 1)), np.stack([quaternion, -quaternion]), home, 0.05)
    np.testing.assert_allclose(path.q_rad[1], path.q_rad[0], atol=1e-3)


def test_step_slightly_out_of_reach_ends_nearest_to_it(robot: RobotModel) -> None:
    _, quaternion = robot.tool_pose(robot.config.home_rad)
    ik = ChunkIk(robot, PARAMS)
    xs = np.linspace(0.44, 0.95, 40)
    errors = []
    for x in xs:
        try:
            path = ik.solve(np.array([[x, 0.0, 0.3]]), quaternion[None], robot.config.home_rad, 0.05)
        except ChunkError:
            break
        errors.append(float(path.error_m[0]))
    assert errors[0] < 1e-4  # starts within reach
    assert len(errors) < len(xs)  # ends beyond the leash
    assert all(error <= PARAMS.leash_m for error in errors)


def test_step_far_out_of_reach_is_named(robot: RobotModel) -> None:
    position, quaternion = robot.tool_pose(robot.config.home_rad)
    positions = np.stack([position, position + [1.0, 0.0, 0.0]])
    with pytest.raises(ChunkError, match=r"step 1 at .*out of reach by"):
        ChunkIk(robot, PARAMS).solve(positions, np.tile(quaternion, (2, 1)), robot.config.home_rad, 0.05)


def test_what_lies_before_the_take_over_keeps_its_posture(robot: RobotModel) -> None:
    """Regression: the search began at the earliest pose, far from the arm, and came back with another elbow."""
    home, lead = robot.config.home_rad, 3
    swing = np.array([0.0, 0.55, 0.0, -0.1, 0.0, 0.6, 0.0])
    rows = np.array([home + (k / 7) * swing for k in range(8)])  # a fast motion of the arm
    poses = [robot.tool_pose(q) for q in rows]
    positions, quaternions = (np.array([pose[part] for pose in poses]) for part in (0, 1))
    path = ChunkIk(robot, PARAMS).solve(positions, quaternions, rows[lead], 0.05, lead).q_rad
    assert np.allclose(path[lead], rows[lead], atol=1e-4)
    assert np.abs(path[: lead + 1] - rows[: lead + 1]).max() < 0.02


def test_a_turn_that_five_joints_cannot_make_costs_no_position() -> None:
    """The SO-101 can't turn its tool about the vertical; it goes where it is told to nevertheless."""
    robot = RobotModel.load("so101_mobile")
    ik, start = ChunkIk(robot, PARAMS), np.array([0.1, 0.2, 0.3, 0.6, 0.1])
    position, (x, y, z, w) = robot.tool_pose(start)
    half = np.sin(0.1), np.cos(0.1)  # 0.2 rad about z, from the left
    turned = np.array([half[1] * x - half[0] * y, half[1] * y + half[0] * x, half[1] * z + half[0] * w,
                       half[1] * w - half[0] * z])  # fmt: skip
    path = ik.solve(position[None], turned[None], start, 1e-9)
    assert path.error_rad[0] > 0.05, "or the test shows nothing"
    assert path.error_m[0] < 1e-3
