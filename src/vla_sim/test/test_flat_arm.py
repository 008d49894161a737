"""The arm of the flat: one kinematics, a jaw of true width, things that it reaches and lifts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flat_driving import FORCE, open_place, put

from vla_control.core.reach import Reach
from vla_control.core.robot import RobotModel
from vla_sim.core.flat import truth
from vla_sim.core.flat.jaw import Jaw
from vla_sim.core.flat.plan import draw_plan
from vla_sim.core.flat.spots import REACH_LEAST_M, reach_m
from vla_sim.core.flat.things import CATEGORIES
from vla_sim.core.flat.world import FlatWorld


@pytest.fixture(scope="module")
def world() -> FlatWorld:
    return FlatWorld()


@pytest.fixture(scope="module")
def robot() -> RobotModel:
    return RobotModel.load("so101_mobile")


def test_pinocchio_and_mujoco_agree_on_the_tool_in_the_base_frame(world: FlatWorld, robot: RobotModel) -> None:
    """Wherever the base stands; it leans by a fraction of a degree on its castors."""
    world.reset(3)
    for seed in range(5):
        q = world.robot.home_rad + np.random.default_rng(seed).uniform(-0.5, 0.5, 5)
        world.data.qpos[world.arm_q] = q
        put(world, 1.0, 1.0, 0.7 * seed)
        position, rotation = world.tool_pose()
        pose = robot.tool_se3(q)
        np.testing.assert_allclose(position, pose.translation, atol=1e-6)
        np.testing.assert_allclose(rotation, pose.rotation, atol=1e-6)


def test_drives_bring_the_arm_within_millimetres(world: FlatWorld, robot: RobotModel) -> None:
    world.reset(3)
    put(world, *open_place(world)[:2], 0.0)
    q = Reach(robot).solve(np.array([0.33, 0.0, 0.30]), 0.3, 0.0, world.robot.home_rad)
    assert q is not None
    move(world, q, 0.0, 1.6)
    assert np.linalg.norm(world.tool_pose()[0] - [0.33, 0.0, 0.30]) < 0.005


def test_width_of_the_gripper_is_the_distance_of_its_pads(world: FlatWorld) -> None:
    jaw = Jaw(world.model, "gripper")
    widths = np.linspace(0.0, 0.09, 10)
    np.testing.assert_allclose([jaw.width(jaw.angle(w)) for w in widths], widths, atol=5e-4)
    world.reset(3)
    for wanted in (0.06, 0.02):
        for _ in range(800):
            world.step(world.robot.home_rad, np.array([wanted]), FORCE)
        assert world.robot_state().gripper_width_m == pytest.approx([wanted], abs=2e-3)


def test_reach_refuses_what_is_out_of_reach_and_finds_what_it_made(robot: RobotModel) -> None:
    reach, home = Reach(robot), robot.config.home_rad
    assert reach.solve(np.array([1.0, 0.0, 0.3]), 0.0, 0.0, home) is None
    assert reach.solve(np.array([0.0, 0.0, 0.12]), np.pi / 2, 0.0, home) is None, "inside the base"
    place = np.array([0.33, 0.10, 0.25])
    found = reach.solve(place, 0.8, 1.2, home)
    assert found is not None and found[-1] == 1.2
    pose = robot.tool_se3(found)
    np.testing.assert_allclose(pose.translation, place, atol=1e-3)
    assert np.arcsin(-np.array(pose.rotation)[2, 0]) == pytest.approx(0.8, abs=0.01)


def test_the_arm_gets_every_thing_that_a_plan_calls_reachable(robot: RobotModel) -> None:
    """From the nearest and from the furthest place that the plan lets the robot stand at."""
    reach, checked = Reach(robot), 0
    pitches = np.radians([75, 60, 45, 30, 15, 0])
    for seed in range(4):
        for thing in (t for t in draw_plan(seed).things if t.reachable):
            height = thing.z + CATEGORIES[thing.category].grasp_height
            for distance in (REACH_LEAST_M + 0.02, reach_m(thing.z)):
                place = np.array([distance, 0.0, height])
                found = (reach.solve(place, pitch, np.pi / 2, robot.config.home_rad) for pitch in pitches)
                assert any(q is not None for q in found), (thing, distance)
                checked += 1
    assert checked > 20


GRASPS = {"mug": (1.4, 0.29), "block": (1.4, 0.29), "can": (1.4, 0.29), "ball": (1.4, 0.29), "car": (1.4, 0.29),
          "duck": (1.4, 0.29), "bottle": (0.8, 0.33), "carton": (0.8, 0.33)}  # fmt: skip
FAST = ("mug",)


@pytest.mark.parametrize(
    "category", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in GRASPS]
)
def test_the_gripper_lifts_a_thing_off_the_floor(world: FlatWorld, robot: RobotModel, category: str) -> None:
    """At a pitch and from a distance where the arm gets at it; the fixed jaw passes 1 cm beside the thing."""
    pitch, distance = GRASPS[category]
    world.reset(4)
    x, y, _ = open_place(world)
    kind = CATEGORIES[category]
    thing = replace(world.plan.things[0], category=category, x=x + distance, y=y, z=0.0, yaw=0.0)
    world.place(replace(world.plan, things=(thing,), start=(x, y, 0.0)))
    reach, home = Reach(robot), world.robot.home_rad
    middle = np.array([distance, 0.0, kind.grasp_height])
    across = np.array(robot.tool_se3(reached(reach, middle, pitch, home)).rotation)[:, 2]
    goal = middle + across * (0.016 - kind.grasp_m / 2)
    grasp = reached(reach, goal, pitch, home)
    before = reached(reach, goal - 0.09 * np.array([np.cos(pitch), 0.0, -np.sin(pitch)]), pitch, grasp)
    after = reached(reach, goal + [0.0, 0.0, 0.08], pitch, grasp)
    for q, width, seconds in ((before, 0.09, 1.2), (grasp, 0.09, 1.0), (grasp, 0.0, 1.0), (after, 0.0, 1.3)):
        move(world, q, width, seconds)
    assert truth.thing_position(world)[2] > 0.04 and truth.held(world)
    move(world, after, 0.09, 0.8)
    assert not truth.held(world)


def reached(reach: Reach, position: np.ndarray, pitch: float, start: np.ndarray) -> np.ndarray:
    found = reach.solve(position, pitch, np.pi / 2, start)
    assert found is not None
    return found


def move(world: FlatWorld, q: np.ndarray, width: float, seconds: float) -> None:
    """Along a straight line of joint and gripper positions, then wait."""
    start = np.append(world.robot_state().q_rad, world.robot_state().gripper_width_m)
    steps = round(seconds / world.model.opt.timestep)
    for share in np.minimum(np.arange(steps) / (0.7 * steps), 1.0):
        now = start + share * (np.append(q, width) - start)
        world.step(now[:-1], now[-1:], np.array([15.0]))
