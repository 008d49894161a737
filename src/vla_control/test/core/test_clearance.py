"""The geometry behind the limits: kinematics, distances and stopping points against other ways to compute them."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from vla_control.core.blend import Blender
from vla_control.core.covers import Covers, box_distance, segment_distance
from vla_control.core.guard import Guard
from vla_control.core.kinematics import Chain, forward, point, speed_of
from vla_control.core.knots import JERK_SHARE
from vla_control.core.robot import RobotModel
from vla_control.core.stop_point import stop_point
from vla_core.types import Float64


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_compiled_kinematics_are_those_of_pinocchio(robot: RobotModel, seed: int) -> None:
    rng, chain, data = np.random.default_rng(seed), Chain.of(robot), robot.model.createData()
    q, qd = rng.uniform(robot.config.position_min_rad, robot.config.position_max_rad), rng.normal(size=7)
    turn, place, at = np.zeros((8, 3, 3)), np.zeros((8, 3)), np.zeros(3)
    forward(chain.parent, chain.rotation, chain.position, chain.axis, chain.slides, q, turn, place)
    pin.forwardKinematics(robot.model, data, q)
    for i in range(8):
        np.testing.assert_allclose(turn[i], data.oMi[i].rotation, atol=1e-12)
        np.testing.assert_allclose(place[i], data.oMi[i].translation, atol=1e-12)
    point(turn, place, chain.tool_joint[0], chain.tool[0], at)
    np.testing.assert_allclose(at, robot.tool_pose(q)[0], atol=1e-12)
    speed = speed_of(chain.parent, chain.axis, chain.slides, turn, place, chain.tool_joint[0], at, qd)
    assert speed == pytest.approx(np.linalg.norm(robot.jacobian(q)[:3] @ qd), abs=1e-12)
    assert np.all(chain.reach[0] >= np.linalg.norm(at - place[1:], axis=1) - 1e-12)
    assert speed <= np.abs(qd) @ chain.reach[0]


def test_a_sliding_joint_is_one(tmp_path: Path) -> None:
    """Chain.of on a model of its own: one slide on a tilted axis, one hinge, against Pinocchio."""
    text = """<mujoco><worldbody><body name="a" pos="0.1 0.2 0.3" quat="0.8 0.6 0 0">
      <inertial mass="1" pos="0 0 0" diaginertia="1 1 1"/><joint name="s" type="slide" axis="0.6 0 0.8"/>
      <body name="b" pos="0 0.5 0"><inertial mass="1" pos="0 0 0" diaginertia="1 1 1"/>
      <joint name="h" axis="0 0.6 0.8"/><site name="tool" pos="0.3 0 0"/></body></body></worldbody></mujoco>"""
    path = tmp_path / "two.xml"
    path.write_text(text)
    twin = object.__new__(RobotModel)
    twin.model = pin.buildModelFromMJCF(str(path))
    twin.tool_ids = (twin.model.getFrameId("tool"),)
    twin.config = type(
        "Two", (), {"joints": ("s", "h"), "position_min_rad": np.full(2, -2.0), "position_max_rad": np.full(2, 2.0)}
    )()  # type: ignore[assignment]
    chain, data, q = Chain.of(twin), twin.model.createData(), np.array([0.37, -1.1])
    assert chain.slides.tolist() == [True, False]
    turn, place, at = np.zeros((3, 3, 3)), np.zeros((3, 3)), np.zeros(3)
    forward(chain.parent, chain.rotation, chain.position, chain.axis, chain.slides, q, turn, place)
    pin.framesForwardKinematics(twin.model, data, q)
    point(turn, place, chain.tool_joint[0], chain.tool[0], at)
    np.testing.assert_allclose(at, data.oMf[twin.tool_id].translation, atol=1e-12)
    qd = np.array([0.5, 2.0])
    jacobian = pin.computeFrameJacobian(twin.model, data, q, twin.tool_id, pin.LOCAL_WORLD_ALIGNED)
    speed = speed_of(chain.parent, chain.axis, chain.slides, turn, place, chain.tool_joint[0], at, qd)
    assert speed == pytest.approx(np.linalg.norm(jacobian[:3] @ qd), abs=1e-12)


_coordinate = st.floats(-1.0, 1.0)
_point = st.tuples(_coordinate, _coordinate, _coordinate).map(np.array)


@settings(max_examples=100, deadline=None)
@given(p=_point, q=_point, a=_point, b=_point)
def test_distance_of_segments_is_the_smallest_over_both(p: Float64, q: Float64, a: Float64, b: Float64) -> None:
    def from_point(s: float) -> float:
        x, d = p + s * (q - p), b - a
        t = np.clip(d @ (x - a) / max(d @ d, 1e-300), 0.0, 1.0)
        return float(np.linalg.norm(x - a - t * d))

    best = min(from_point(s) for s in (0.0, 1.0, minimize_scalar(from_point, bounds=(0.0, 1.0), method="bounded").x))
    assert segment_distance(p, q, a, b) == pytest.approx(best, abs=2e-5)
    assert segment_distance(a, b, p, q) == pytest.approx(segment_distance(p, q, a, b), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(p=_point, q=_point, corner=_point, size=st.tuples(*[st.floats(0.01, 1.0)] * 3).map(np.array))
def test_distance_to_a_box_is_the_smallest_along_the_segment(
    p: Float64, q: Float64, corner: Float64, size: Float64
) -> None:
    def from_point(s: float) -> float:
        x = p + s * (q - p)
        return float(np.linalg.norm(x - np.clip(x, corner, corner + size)))

    grid = np.linspace(0.0, 1.0, 400)
    near = grid[int(np.argmin([from_point(s) for s in grid]))]
    found = minimize_scalar(from_point, bounds=(max(0.0, near - 0.01), min(1.0, near + 0.01)), method="bounded")
    assert box_distance(p, q, corner, corner + size) == pytest.approx(min(from_point(near), found.fun), abs=2e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_distance_to_itself_is_that_of_the_models_own_capsules(robot: RobotModel, seed: int) -> None:
    """The hand is a box in the model, so its capsule may only be closer."""
    rng, covers = np.random.default_rng(seed), Covers.of(robot)
    assert "hand_collision" in covers.names and not any("finger" in name for name in covers.names)
    model = mujoco.MjModel.from_xml_path(str(robot.config.model_path))
    data, line = mujoco.MjData(model), np.zeros(6)
    q = rng.uniform(robot.config.position_min_rad, robot.config.position_max_rad)
    data.qpos[:7] = q
    mujoco.mj_forward(model, data)
    guard, smallest = Guard(robot), np.inf
    turn, place, chain = np.zeros((8, 3, 3)), np.zeros((8, 3)), Chain.of(robot)
    forward(chain.parent, chain.rotation, chain.position, chain.axis, chain.slides, q, turn, place)
    ends = np.einsum("nij,nkj->nki", turn[covers.joint], covers.ends) + place[covers.joint][:, None]
    for a, b in covers.pairs:
        exact = mujoco.mj_geomDistance(
            model, data, model.geom(covers.names[a]).id, model.geom(covers.names[b]).id, 5.0, line
        )
        found = segment_distance(*ends[a], *ends[b]) - covers.radius[a] - covers.radius[b]
        smallest = min(smallest, found)
        if exact > 0.0 and "hand_collision" in (covers.names[a], covers.names[b]):
            assert found <= exact + 1e-4
        elif exact > 0.0:
            assert found == pytest.approx(exact, abs=1e-4)
    assert guard.distances(q)[0] == pytest.approx(smallest, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_stop_point_is_where_the_brake_ends(robot: RobotModel, seed: int) -> None:
    rng, config = np.random.default_rng(seed), robot.config
    q, out = rng.normal(size=7), np.zeros(7)
    qd = rng.uniform(-1, 1, 7) * config.velocity_rad_s
    qdd = rng.uniform(-0.9, 0.9, 7) * config.acceleration_rad_s2
    segment = Blender(config).brake((q, qd, qdd))
    stop_point(q, qd, qdd, 0.9 * config.acceleration_rad_s2, JERK_SHARE * config.jerk_rad_s3, out)
    end = segment.sample(np.array([segment.duration_s]))[0][0]
    np.testing.assert_allclose(out, end, atol=1e-6)


@pytest.mark.parametrize("name", ["so101_mobile", "panda", "aloha"])
def test_capsules_cover_every_shape_and_stick_out_little(name: str) -> None:
    """Regression: one capsule about the flat round chassis of so101_mobile reached 17 cm beyond it and held the arm."""
    robot = RobotModel.load(name)
    covers = Covers.of(robot)
    for shape in robot.shapes(fingers=False):
        mine = [i for i, own in enumerate(covers.names) if own == shape.name]
        shape.geometry.computeLocalAABB()
        half, kind = np.array(shape.geometry.aabb_local.max_), type(shape.geometry).__name__
        assert all(covers.radius[i] < half.min() + 0.05 for i in mine), shape.name
        for corner in _outermost(kind, half):
            at = np.array(shape.placement.act(corner))
            gaps = [segment_distance(at, at, *covers.ends[i]) - covers.radius[i] for i in mine]
            assert min(gaps) < 1e-6, (shape.name, corner)


def _outermost(kind: str, half: Float64) -> Float64:
    """Corners of a box or points on the edges of a cylinder about z (N,3); none of what is a capsule already."""
    if kind == "Capsule":
        return np.zeros((0, 3))
    if kind == "Cylinder":
        angles = np.linspace(0.0, 2 * np.pi, 60)
        return np.array([[half[0] * np.cos(a), half[1] * np.sin(a), z] for a in angles for z in (-half[2], half[2])])
    return np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T * half


def test_the_arm_of_the_mobile_robot_is_free_at_home_and_where_it_works() -> None:
    robot = RobotModel.load("so101_mobile")
    ahead = np.array([0.16, 1.23, -0.16, 0.32, 1.7])  # jaws at the floor, 0.3 m ahead
    for q in (robot.config.home_rad, ahead):
        assert Guard(robot).distances(q)[0] > 2 * robot.config.self_clearance_m
