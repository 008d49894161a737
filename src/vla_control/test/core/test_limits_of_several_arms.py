"""Limits of a robot with two arms: each tool and each link of both counts, and one that brakes brakes both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pinocchio as pin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_control.core.guard import Guard
from vla_control.core.kinematics import Chain, forward, point, speed_of
from vla_control.core.knots import Knots
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotModel
from vla_control.core.servo import ServoCore
from vla_control.core.target import Target
from vla_core.records import COMMAND, LIMITS, PLAN, STATE, STATUS
from vla_core.types import Float64

MS = 1_000_000
_KNOT_S = 0.01


@pytest.fixture(scope="module")
def aloha() -> RobotModel:
    return RobotModel.load("aloha")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_tools_of_both_arms_move_as_in_pinocchio(aloha: RobotModel, seed: int) -> None:
    rng, chain, config = np.random.default_rng(seed), Chain.of(aloha), aloha.config
    q, qd = rng.uniform(config.position_min_rad, config.position_max_rad), rng.normal(size=12)
    turn, place, at = np.zeros((13, 3, 3)), np.zeros((13, 3)), np.zeros(3)
    forward(chain.parent, chain.rotation, chain.position, chain.axis, chain.slides, q, turn, place)
    for arm in range(2):
        joint = chain.tool_joint[arm]
        point(turn, place, joint, chain.tool[arm], at)
        np.testing.assert_allclose(at, aloha.tool_pose(q, arm)[0], atol=1e-12)
        speed = speed_of(chain.parent, chain.axis, chain.slides, turn, place, joint, at, qd)
        assert speed == pytest.approx(np.linalg.norm(aloha.jacobian(q, arm)[:3] @ qd), abs=1e-12)
        assert speed <= np.abs(qd) @ chain.reach[arm]


def _swing(start: Float64, end: Float64, time_s: float) -> tuple[Float64, Float64, Float64]:
    """Minimum-jerk knots (K,12) from start to end in `time_s`, then rest."""
    t = np.clip(_KNOT_S * np.arange(400) / time_s, 0.0, 1.0)[:, None]
    q = start + (end - start) * (10 * t**3 - 15 * t**4 + 6 * t**5)
    qd = (end - start) / time_s * (30 * t**2 - 60 * t**3 + 30 * t**4)
    return q, qd, (end - start) / time_s**2 * (60 * t - 180 * t**2 + 120 * t**3)


def _run(robot: RobotModel, time_s: float, **ends: float) -> tuple[Float64, Float64, set[str]]:
    """Follow a swing from home to joints `ends`; q, qd (N,12) of 3 s and the names of the limits that acted."""
    home, end = robot.config.home_rad, robot.config.home_rad.copy()
    for name, value in ends.items():
        end[robot.config.joints.index(name)] = value
    q, qd, qdd = np.zeros((3, 12))
    target = Target(robot, 1e-3, 0.02, q, qd, qdd, np.zeros(2))
    target.start(home, np.zeros(2), MS)
    plan = Knots()
    plan.store(*_swing(home, end, time_s), np.zeros((400, 2)), np.zeros((400, 2)), MS, _KNOT_S)
    plan.sequence[0], plan.fresh_until_ns[0] = 1, plan.end_ns
    motion, acting = [], 0
    for tick in range(2, 3000):
        target.follow(plan, tick * MS, False, False, q)
        acting |= target.acting
        motion.append(np.stack([q, qd]))
    path, speed = np.stack(motion, axis=1)
    return path, speed, {name for bit, name in enumerate(LIMITS) if acting >> bit & 1}


@pytest.mark.parametrize(
    ("ends", "name"),
    [
        ({"right_shoulder": 0.9, "right_elbow": 0.2, "right_wrist_angle": -1.2}, "scene_collision"),
        ({"left_shoulder": 0.1, "left_elbow": 0.0, "right_shoulder": 0.1, "right_elbow": 0.0}, "self_collision"),
        ({"right_waist": 1.5, "right_shoulder": 0.3, "right_elbow": 0.6}, "workspace"),
    ],
)
def test_whichever_arm_comes_too_near_both_brake(aloha: RobotModel, ends: dict[str, float], name: str) -> None:
    path, speed, names = _run(aloha, 2.0, **ends, left_wrist_rotate=1.0)
    assert names == {name} and not speed[-1].any()
    rotated = path[-1, aloha.config.joints.index("left_wrist_rotate")]
    assert 0.02 < rotated < 0.98
    own, scene = np.min([Guard(aloha).distances(q) for q in path[::20]], axis=0)
    config = aloha.config
    assert own > config.self_clearance_m - 0.005 and scene > config.scene_clearance_m - 0.005


@pytest.mark.parametrize("arm", [0, 1])
def test_the_tool_of_either_arm_keeps_the_speed_limit(aloha: RobotModel, arm: int) -> None:
    limit = 0.2
    robot = RobotModel(replace(aloha.config, tool_speed_m_s=limit))
    waist = ("left_waist", "right_waist")[arm]
    path, speed, names = _run(robot, 1.0, **{waist: 0.8})
    fastest = max(float(np.linalg.norm(robot.jacobian(q, arm)[:3] @ qd)) for q, qd in zip(path, speed, strict=True))
    assert names == {"tool_speed"} and 0.8 * limit < fastest <= 1.02 * limit
    assert path[-1, robot.config.joints.index(waist)] == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize("interface", ["position", "effort"])
def test_a_force_on_one_tool_moves_that_arm_s_positions_and_no_torque(aloha: RobotModel, interface: str) -> None:
    """Arms that take torques are at their targets, so they get what holds them; those that take positions give way."""
    robot = RobotModel(replace(aloha.config, interface=interface))
    servo, home = ServoCore(robot, ServoParameters.from_config()), robot.config.home_rad
    assert servo.params.compliance == "operational_space"
    state, plan, command, status = (np.zeros(1, record) for record in (STATE, PLAN, COMMAND, STATUS))
    state["q"][0, :12] = home
    gravity = pin.computeGeneralizedGravity(robot.model, robot.model.createData(), home)
    state["tau"][0, :12] = gravity + robot.jacobian(home)[:3].T @ np.array([0.0, 10.0, 0.0])
    for tick in range(1, 300):
        state["tick"], state["stamp_ns"] = tick, tick * MS
        servo.tick(state, plan, False, command, status)
    assert float(status["joint_share"][0]) == 0.0
    left, right = robot.joints_of(0), robot.joints_of(1)
    np.testing.assert_allclose(command["q"][0, right], home[right], atol=1e-12)
    if interface == "position":
        assert np.abs(command["q"][0, left] - home[left]).max() > 1e-3
        assert np.linalg.norm(status["wrench"][0, :3]) == pytest.approx(10.0, rel=0.05)
        assert not command["tau"].any()
    else:
        np.testing.assert_allclose(command["q"][0, left], home[left], atol=1e-12)
        np.testing.assert_allclose(command["tau"][0, :12], gravity, atol=1e-6)
