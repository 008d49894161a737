"""Barriers: what is kept apart stays apart, what may touch may, and everything else is as without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pinocchio as pin
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vla_control.core.collision import CollisionConfig, CollisionModel, parse_collision, parse_obstacles
from vla_control.core.ik import ChunkIk
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_core.errors import ChunkError, ConfigError
from vla_core.files import config_path, load_yaml
from vla_core.types import Float64

PARAMS = ExecutorParameters.from_config()
LINEAR_M = 1e-3  # what the barrier's linearisation may cost


def collision_of(robot: RobotModel) -> CollisionModel:
    model = robot.collision_model()
    assert model is not None
    return model


def random_posture(robot: RobotModel, rng: np.random.Generator) -> Float64:
    config = robot.config
    q = config.home_rad + rng.uniform(-1.2, 1.2, 7)
    return np.clip(q, config.position_min_rad + 0.05, config.position_max_rad - 0.05)


def test_the_hand_stands_above_the_table_as_its_pose_says(robot: RobotModel) -> None:
    """The hand's box ends 0.0404 m behind the tool; at home the tool points down."""
    collision, home = collision_of(robot), robot.config.home_rad
    pair = collision.config.pairs.index(("hand_collision", "table"))
    tilt = robot.tool_se3(home).rotation[:, 2]
    assert tilt[2] == pytest.approx(-1.0, abs=1e-3)
    height = robot.tool_pose(home)[0][2]
    assert collision.distances(home)[pair] == pytest.approx(height + 0.0404, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_rows_are_the_gradients_of_the_distances(robot: RobotModel, seed: int) -> None:
    """Against central differences; postures where the nearest points jump are left out by their second difference."""
    rng = np.random.default_rng(seed)
    config = replace(collision_of(robot).config, influence_m=10.0)
    collision = rebuilt(robot, config)
    q, direction = random_posture(robot, rng), rng.normal(size=7)
    assume(collision.distances(q).min() > 0.005)
    h = 1e-5
    before, now, after = (collision.distances(q + s * h * direction) for s in (-1, 0, 1))
    pin.computeJointJacobians(robot.model, data := robot.model.createData(), q)
    rows = collision.rows(data)[0][: len(now)]
    smooth = np.abs(after - 2 * now + before) < 1e-8
    np.testing.assert_allclose((rows @ direction)[smooth], ((after - before) / (2 * h))[smooth], atol=2e-3)
    assert smooth.mean() > 0.5


def rebuilt(robot: RobotModel, config: CollisionConfig) -> CollisionModel:
    return collision_of(RobotModel(replace(robot.config, collision=config)))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_whatever_is_asked_for_the_pairs_stay_apart(robot: RobotModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    collision = collision_of(robot)
    start, goal = random_posture(robot, rng), random_posture(robot, rng)
    assume(collision.distances(start).min() > collision.config.safe_m)
    a, b = (np.concatenate(robot.tool_pose(q)) for q in (start, goal))
    assume(a[3:] @ b[3:] > 0.2)
    poses = a + np.linspace(0, 1, 25)[:, None] * (b - a)
    ik = ChunkIk(robot, replace(PARAMS, leash_m=10.0, leash_rad=10.0))
    path = ik.solve(poses[:, :3], poses[:, 3:], start, 0.05)
    nearest = min(collision.distances(q).min() for q in path.q_rad)
    assert nearest > collision.config.safe_m - LINEAR_M
    guarded = ik.guard(start + np.linspace(0, 1, 40)[:, None] * (goal - start), start)
    assert min(collision.distances(q).min() for q in guarded.q_rad) > collision.config.safe_m - LINEAR_M


def test_fingers_may_touch_the_table_and_the_hand_may_not(robot: RobotModel) -> None:
    home = robot.config.home_rad
    position, quaternion = robot.tool_pose(home)
    heights = np.linspace(position[2], -0.045, 40)
    poses = np.tile(position, (40, 1))
    poses[:, 2] = heights
    path = ChunkIk(robot, PARAMS).solve(poses, np.tile(quaternion, (40, 1)), home, 0.05)
    above = heights > -0.015
    assert path.error_m[above].max() < 1e-4  # down to 1.5 cm below the table's top nothing is held back
    collision = collision_of(robot)
    nearest = min(collision.distances(q).min() for q in path.q_rad)
    assert nearest == pytest.approx(collision.config.safe_m, abs=LINEAR_M) and path.error_m[-1] > 0.005


def test_a_hand_pushed_through_the_table_is_refused(robot: RobotModel) -> None:
    position, quaternion = robot.tool_pose(robot.config.home_rad)
    poses = np.tile(position, (40, 1))
    poses[:, 2] = np.linspace(position[2], -0.2, 40)
    with pytest.raises(ChunkError, match="out of reach by"):
        ChunkIk(robot, PARAMS).solve(poses, np.tile(quaternion, (40, 1)), robot.config.home_rad, 0.05)


def test_an_arm_that_is_too_near_already_finds_a_way_out(robot: RobotModel) -> None:
    """Soft rows: what can't be met at once is no failure."""
    collision, home = collision_of(robot), robot.config.home_rad
    position, quaternion = robot.tool_pose(home)
    free = ChunkIk(bare(robot), PARAMS)
    down = np.tile(position, (60, 1))
    down[:, 2] = np.linspace(position[2], -0.05, 60)
    start = free.solve(down, np.tile(quaternion, (60, 1)), home, 0.05).q_rad[-1]
    assert collision.distances(start).min() < 0.0
    path = ChunkIk(robot, PARAMS).solve(down[-1:], quaternion[None], start, 0.05)
    assert collision.distances(path.q_rad[-1]).min() > collision.config.safe_m - LINEAR_M


def bare(robot: RobotModel) -> RobotModel:
    """The robot without its barriers."""
    return RobotModel(replace(robot.config, collision=None))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_motion_far_from_everything_is_the_same_with_and_without(robot: RobotModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    home = robot.config.home_rad
    goal = home + rng.uniform(-0.15, 0.15, 7)
    line = home + np.linspace(0, 1, 20)[:, None] * (goal - home)
    poses = np.array([np.concatenate(robot.tool_pose(q)) for q in line])
    paths = [ChunkIk(r, PARAMS).solve(poses[:, :3], poses[:, 3:], home, 0.05).q_rad for r in (robot, bare(robot))]
    np.testing.assert_array_equal(*paths)
    np.testing.assert_array_equal(ChunkIk(robot, PARAMS).guard(line, home).q_rad, line)


def test_a_section_that_is_wrong_is_refused(robot: RobotModel) -> None:
    path = config_path("robots", "panda")
    data = load_yaml(path)
    good, table = data["collision"], data["obstacles"][0]
    with pytest.raises(ConfigError, match="0 < gain <= 1"):
        parse_collision({**good, "gain": 0.0}, path)
    with pytest.raises(ConfigError, match="an obstacle without volume"):
        parse_obstacles([{**table, "max_m": [1.0, -0.6, 1.0]}], path)
    with pytest.raises(ConfigError, match="three finite numbers"):
        parse_obstacles([{**table, "min_m": [1.0, 0.0]}], path)
    with pytest.raises(ConfigError, match=r"pair \['elbow', 'table'\]; expected among"):
        rebuilt(robot, parse_collision({**good, "pairs": [{"of": ["elbow"], "with": ["table"]}]}, path))


def test_a_finished_motion_that_comes_too_near_is_refused_and_one_that_leads_away_is_not(robot: RobotModel) -> None:
    """Blends and smoothing come after inverse kinematics: what they make of a path is looked at again."""
    collision, home = collision_of(robot), robot.config.home_rad
    position, quaternion = robot.tool_pose(home)
    down = np.tile(position, (60, 1))
    down[:, 2] = np.linspace(position[2], -0.05, 60)
    path = ChunkIk(bare(robot), PARAMS).solve(down, np.tile(quaternion, (60, 1)), home, 0.05).q_rad
    with pytest.raises(ChunkError, match=r"brings hand_collision and table within .* mm; expected at least 9\.9 mm"):
        collision.check(path)
    collision.check(path[::-1])
    collision.check(path[:40])
