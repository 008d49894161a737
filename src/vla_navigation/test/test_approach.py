"""Where to stand before a thing, and the last decimetres there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.reach import Reach
from vla_control.core.robot import RobotModel
from vla_core import se2
from vla_core.errors import ConfigError
from vla_core.files import load_yaml, workspace_root
from vla_core.types import NS
from vla_navigation.core.approach.base_poses import ApproachParameters, ApproachPlanner
from vla_navigation.core.approach.camera_cone import CameraCone
from vla_navigation.core.approach.reach_map import PITCHES_RAD, ROLLS_RAD, ReachMap
from vla_navigation.core.approach.visual_servo import ARRIVED, DRIVING, LOST, SLOW, ServoParameters, VisualServo
from vla_navigation.core.nav.costmap import distances
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.travel import travel_field
from vla_navigation.reach_table import main, table_path
from vla_sim.core.flat.world import FlatWorld

RADIUS_M = 0.22
PARAMS = ApproachParameters(
    clearance_m=0.02, room_m=0.15, speed_m_s=0.4, apart_m=0.25, apart_rad=0.6, unseen=0.3, most=6
)
SERVO = ServoParameters(
    gain_1_s=1.0, speed_m_s=0.1, turn_rad_s=0.5, near_m=0.015, near_rad=0.06, lost_s=1.0, timeout_s=30.0
)


@pytest.fixture(scope="module")
def robot() -> RobotModel:
    return RobotModel.load("so101_mobile")


@pytest.fixture(scope="module")
def table() -> ReachMap:
    return ReachMap.load(table_path("so101_mobile"))


@pytest.fixture(scope="module")
def planner(table: ReachMap) -> ApproachPlanner:
    down = np.arctan2(0.61, 1.0)
    rotation = np.array([[0, -np.sin(down), np.cos(down)], [-1, 0, 0], [0, -np.cos(down), -np.sin(down)]])
    camera = CameraCone(np.array([-0.074, 0.0, 0.90]), rotation, 0.80, 0.60, 0.12, 3.0)
    return ApproachPlanner(table, camera, RADIUS_M, PARAMS)


class Room:
    """5 x 5 m with a table in it, and the robot in a corner."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.frame = GridFrame(0.05, 0.0, 0.0, 100, 100)
        solid = np.zeros((100, 100), bool)
        solid[[0, -1]] = solid[:, [0, -1]] = True
        for x0, y0, x1, y1 in boxes:
            solid[round(y0 * 20) : round(y1 * 20), round(x0 * 20) : round(x1 * 20)] = True
        self.distance_m = distances(solid, 0.05)
        cost = np.where(self.distance_m < RADIUS_M, np.inf, 1.0).astype(np.float32)
        self.way_m = travel_field(cost, 12, 12, 0.05)


SIDE_TABLE = (2.0, 2.0, 2.6, 2.4)


def in_base(thing: np.ndarray, pose: np.ndarray) -> np.ndarray:
    flat = se2.transform(se2.inverse(pose), thing[None, :2])[0]
    return np.array([flat[0], flat[1], thing[2]])


def test_the_table_keeps_its_word(robot: RobotModel, table: ReachMap) -> None:
    """Where it gives a share, the hand can be there in as large a share of the directions, in any bearing."""
    rng, reach = np.random.default_rng(0), Reach(robot)
    points = np.stack([*rng.uniform([-0.1, -0.3], [0.4, 0.3], (400, 2)).T, rng.uniform(0.02, 0.5, 400)], 1)
    claimed = table.at(points)
    assert 0.2 < (claimed > 0.0).mean() < 0.8
    worth = [k for k in range(400) if claimed[k] > 0.0][:25]
    short = []
    for k in worth:
        home = robot.config.home_rad.copy()
        home[0] = -np.arctan2(points[k, 1] - table.axis_m[1], points[k, 0] - table.axis_m[0])
        starts = (home, robot.config.home_rad)
        ways = [
            any(reach.solve(points[k], pitch, roll, q) is not None for q in starts)
            for pitch in PITCHES_RAD
            for roll in ROLLS_RAD
        ]
        assert any(ways), points[k]
        short.append(max(0.0, claimed[k] - np.mean(ways)))
    assert np.mean(short) < 0.05


def test_behind_the_pan_and_out_of_the_table_is_nothing(table: ReachMap) -> None:
    ahead = table.axis_m[0] + table.best_distance_m(0.2)
    points = np.array([[ahead, 0.0, 0.2], [-ahead, 0.0, 0.2], [3.0, 0.0, 0.2], [ahead, 0.0, 2.0], [ahead, 0.0, -0.1]])
    worth = table.at(points)
    assert worth[0] > 0.5 and not worth[1:].any()
    with pytest.raises(ConfigError, match=r"got a thing 2\.00 m up; expected a height that the arm can reach"):
        table.best_distance_m(2.0)


def test_table_file(table: ReachMap, tmp_path: Path) -> None:
    table.save(tmp_path / "reach.npz")
    again = ReachMap.load(tmp_path / "reach.npz")
    np.testing.assert_array_equal(again.share, table.share)
    assert again.bearing_rad == table.bearing_rad
    with pytest.raises(ConfigError, match=r"no reach table in nothing\.npz.*vla_navigation\.reach_table"):
        ReachMap.load(tmp_path / "nothing.npz")


def test_the_shipped_table_is_what_the_robot_file_gives(robot: RobotModel, table: ReachMap) -> None:
    some = slice(8, 12), slice(8, 12)
    made = ReachMap.of(robot, table.distance_m[some[0]], table.height_m[some[1]])
    np.testing.assert_allclose(made.share, table.share[some])
    np.testing.assert_allclose(made.axis_m, table.axis_m)


def test_a_robot_without_a_table_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--robot", "nobody"]) == 2
    assert capsys.readouterr().err.startswith("ERROR ")


@settings(max_examples=25, deadline=None)
@given(x=st.floats(2.05, 2.55), y=st.floats(2.05, 2.35), z=st.floats(0.1, 0.35))
def test_every_place_reaches_the_thing_and_keeps_clear(
    planner: ApproachPlanner, table: ReachMap, x: float, y: float, z: float
) -> None:
    room, thing = Room(SIDE_TABLE), np.array([x, y, z])
    found = planner.poses(thing, room.frame, room.distance_m, room.way_m)
    assert len(found) <= PARAMS.most
    for place in found:
        cell = room.frame.cell(*place.pose[:2])
        assert room.distance_m[cell] == pytest.approx(place.clearance_m)
        assert place.clearance_m >= RADIUS_M + PARAMS.clearance_m and np.isfinite(room.way_m[cell])
        assert table.at(in_base(thing, place.pose)[None])[0] == pytest.approx(place.reach) and place.reach > 0.0
    for i, one in enumerate(found):
        for other in found[:i]:
            bearings = [np.arctan2(*(p.pose[:2] - thing[:2])[::-1]) for p in (one, other)]
            around = abs(float(se2.wrap(bearings[0] - bearings[1])))
            assert np.hypot(*(one.pose[:2] - other.pose[:2])) >= PARAMS.apart_m or around >= PARAMS.apart_rad
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


def test_a_thing_near_the_edge_is_approached_from_that_side(planner: ApproachPlanner) -> None:
    room = Room(SIDE_TABLE)
    best = planner.poses(np.array([2.1, 2.2, 0.25]), room.frame, room.distance_m, room.way_m)[0]
    assert best.pose[0] < 2.0 and best.seen
    assert abs(float(se2.wrap(best.pose[2] - np.arctan2(2.2 - best.pose[1], 2.1 - best.pose[0])))) < 0.8


def test_what_cannot_be_reached_has_no_place(planner: ApproachPlanner) -> None:
    wide = Room((1.5, 1.5, 3.5, 3.5))
    assert planner.poses(np.array([2.5, 2.5, 0.25]), wide.frame, wide.distance_m, wide.way_m) == [], "too deep inside"
    high = Room(SIDE_TABLE)
    assert planner.poses(np.array([2.1, 2.2, 0.9]), high.frame, high.distance_m, high.way_m) == [], "too high"
    walled = Room(
        SIDE_TABLE, (1.4, 1.4, 1.45, 3.0), (1.4, 3.0, 3.2, 3.05), (3.2, 1.4, 3.25, 3.05), (1.4, 1.4, 3.25, 1.45)
    )
    assert planner.poses(np.array([2.1, 2.2, 0.25]), walled.frame, walled.distance_m, walled.way_m) == [], "no way in"
    far = np.array([9.0, 9.0, 0.25])
    assert planner.poses(far, high.frame, high.distance_m, high.way_m) == [], "outside the map"


@settings(max_examples=40, deadline=None)
@given(x=st.floats(0.2, 0.8), y=st.floats(-0.35, 0.35), noise_m=st.floats(0.0, 0.004), seed=st.integers(0, 99))
def test_visual_servo_arrives(table: ReachMap, x: float, y: float, noise_m: float, seed: int) -> None:
    rng, thing, pose, dt = np.random.default_rng(seed), np.array([x, y, 0.1]), np.zeros(3), 0.1
    best = table.best_distance_m(0.1)
    servo = VisualServo(table.axis_m, best, SERVO, 0)
    for k in range(400):
        seen = in_base(thing, pose)
        step = servo.step(seen + rng.normal(0.0, noise_m, 3) if noise_m else seen, round(k * dt * NS))
        if step.state == ARRIVED:
            assert abs(np.hypot(*(seen[:2] - table.axis_m)) - best) < SERVO.near_m + 4 * noise_m
            assert table.at(np.array([[*seen[:2], 0.1]]))[0] > 0.0
            return
        assert step.state == DRIVING
        assert abs(step.v_m_s) <= SERVO.speed_m_s and abs(step.w_rad_s) <= SERVO.turn_rad_s
        pose = pose + np.array([step.v_m_s * np.cos(pose[2]), step.v_m_s * np.sin(pose[2]), step.w_rad_s]) * dt
    pytest.fail(f"never arrived: {in_base(thing, pose)}")


def test_a_thing_that_is_not_seen_stops_the_base_at_once_and_is_lost_later(table: ReachMap) -> None:
    servo, thing = VisualServo(table.axis_m, 0.25, SERVO, 0), np.array([0.6, 0.0])
    assert servo.step(thing, NS).v_m_s > 0.0
    blind = servo.step(None, 2 * NS)
    assert (blind.state, blind.v_m_s, blind.w_rad_s) == (DRIVING, 0.0, 0.0)
    assert servo.step(thing, round(2.1 * NS)).v_m_s > 0.0, "seen again"
    assert servo.step(None, 4 * NS).state == LOST
    assert servo.step(thing, 31 * NS).state == SLOW


@pytest.mark.parametrize("change", [{"gain_1_s": 0.0}, {"lost_s": -1.0}])
def test_servo_parameters_are_checked(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected numbers > 0"):
        replace(SERVO, **change)


def test_approach_parameters_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"unseen 0\.\.1"):
        replace(PARAMS, unseen=1.5)


def test_an_arm_whose_first_joint_is_not_vertical_has_no_table(robot: RobotModel) -> None:
    tilted = robot.tool_se3

    class Leaning:
        config = robot.config

        @staticmethod
        def tool_se3(q: np.ndarray):
            pose = tilted(q)
            pose.translation = pose.translation + [0.0, 0.0, 0.1 * q[0]]
            return pose

    with pytest.raises(ConfigError, match="one that turns the arm about the vertical"):
        ReachMap.of(Leaning(), np.array([0.2, 0.3]), np.array([0.1, 0.2]))


@pytest.mark.parametrize("height_m", [0.03, 0.2, 0.4])
def test_regression_what_the_arm_has_before_it_is_in_view_of_a_camera_of_the_map(
    table: ReachMap, height_m: float
) -> None:
    """The last decimetres go by the map; it heard the front camera only, which loses the floor 40 cm ahead."""
    world = FlatWorld()
    listening = load_yaml(workspace_root() / "config" / "navigation.yaml")["/**/semantic_map_node"]["ros__parameters"]
    ahead_m = float(table.axis_m[0]) + table.best_distance_m(height_m)
    base = world.data.body("base_link")
    thing = base.xpos + base.xmat.reshape(3, 3) @ [ahead_m, 0.0, height_m]

    def sees(name: str) -> bool:
        camera, model = world.data.camera(name), world.model.camera(name)
        x, y, back = camera.xmat.reshape(3, 3).T @ (thing - camera.xpos)  # MuJoCo's cameras look along -z
        (aspect,) = (one["width"] / one["height"] for one in world.scene["cameras"] if one["name"] == name)
        half = np.tan(np.radians(float(model.fovy[0])) / 2)
        return bool(-back > 0.1 and abs(y / back) < half and abs(x / back) < half * aspect)

    assert any(sees(name) for name in listening["cameras"])
    assert height_m > 0.1 or not sees("front"), "then the wrist's isn't needed"
