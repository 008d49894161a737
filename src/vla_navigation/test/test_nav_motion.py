"""Local planner, safety layer and tracker: what is commanded keeps the limits and touches nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from navigation_data import CELL_M, PARAMS, RADIUS_M, base

from vla_core.types import Float64
from vla_navigation.core.nav.costmap import distances
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.moving import MovingTracker
from vla_navigation.core.nav.mppi import Mppi, Surroundings
from vla_navigation.core.nav.safety import SafetyLayer
from vla_navigation.core.nav.travel import travel_field
from vla_navigation.core.nav.twist_limits import TwistLimits

NOBODY = np.zeros((0, 5))
DRIVES = ["differential", "holonomic"]
TWIST = st.tuples(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0), st.floats(-4.0, 4.0))


def keeps_limits(before: Float64, after: Float64, drive: str) -> bool:
    """Velocity, wheel speeds and acceleration, by their definitions."""
    robot = base(drive)
    slack = 1e-9
    within = np.abs(after) <= robot.velocity + slack
    gentle = np.abs(after - before) <= robot.acceleration * PARAMS.period_s + slack
    lever = 0.5 * (robot.track_m + robot.wheelbase_m)
    wheels = [abs(after[0]) + abs(after[1]) + lever * abs(after[2])]
    fast = max(wheels) / robot.wheel_radius_m <= robot.wheel_speed_rad_s + 1e-6
    return bool(within.all() and gentle.all() and fast)


@given(st.sampled_from(DRIVES), st.lists(TWIST, min_size=1, max_size=8))
def test_a_sequence_of_any_wishes_becomes_one_within_the_limits(drive: str, wishes) -> None:
    limits, twist = TwistLimits(base(drive), PARAMS.period_s), np.zeros(3)
    for wish in wishes:
        new = limits.next(twist, np.array(wish))
        assert keeps_limits(twist, new, drive)
        twist = new


def test_a_wish_in_reach_is_met_and_one_beyond_is_approached_in_its_direction() -> None:
    limits = TwistLimits(base(), PARAMS.period_s)
    np.testing.assert_allclose(limits.next(np.zeros(3), np.array([0.05, 0.0, 0.1])), [0.05, 0.0, 0.1])
    far = limits.next(np.zeros(3), np.array([0.4, 0.0, 0.4]))
    assert far[0] == pytest.approx(far[2]) and far[0] == pytest.approx(0.08)


def surroundings(obstacles: np.ndarray, goal: Float64, moving: Float64 = NOBODY) -> Surroundings:
    """Of a grid with its corner at the origin."""
    distance = distances(obstacles, CELL_M)
    cost = np.where(distance < RADIUS_M, np.inf, 1.0).astype(np.float32)
    frame = GridFrame(CELL_M, 0.0, 0.0, *obstacles.shape)
    field = np.minimum(travel_field(cost, *frame.cell(*goal[:2]), CELL_M), np.float32(50.0))
    return Surroundings(field, distance, frame, goal[:2], goal, moving, 2.0)


@given(st.sampled_from(DRIVES), st.integers(0, 1000))
@settings(max_examples=25)
def test_mppi_keeps_the_limits_along_its_whole_solution(drive: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    obstacles = rng.random((60, 60)) < 0.01
    obstacles[25:35, 25:35] = False
    mppi, sent = Mppi(base(drive), Footprint.circle(0.1), PARAMS, seed), np.zeros(3)
    around = surroundings(obstacles, np.array([*rng.uniform(0.3, 2.7, 2), 0.0]))
    pose = np.array([1.5, 1.5, rng.uniform(-3, 3)])
    for _ in range(3):
        twist = mppi.command(pose, sent, around)
        if twist is None:
            return
        assert keeps_limits(sent, twist, drive)
        for before, after in zip(mppi.solution[:-1], mppi.solution[1:], strict=True):
            assert keeps_limits(before, after, drive)
        sent = twist


def drive(mppi: Mppi, pose: Float64, around: Surroundings, ticks: int) -> Float64:
    """Poses (T,3) of a base that follows exactly."""
    sent, poses = np.zeros(3), [pose]
    for _ in range(ticks):
        twist = mppi.command(poses[-1], sent, around)
        assert twist is not None
        cos, sin = np.cos(poses[-1][2]), np.sin(poses[-1][2])
        step = np.array([cos * twist[0] - sin * twist[1], sin * twist[0] + cos * twist[1], twist[2]])
        poses.append(poses[-1] + PARAMS.period_s * step)
        sent = twist
    return np.array(poses)


@pytest.mark.parametrize("kind", DRIVES)
def test_mppi_turns_round_and_drives_to_its_goal(kind: str) -> None:
    goal = np.array([0.6, 1.5, 0.0])
    around = surroundings(np.zeros((60, 60), bool), goal)
    poses = drive(Mppi(base(kind), Footprint.circle(RADIUS_M), PARAMS), np.array([2.2, 1.5, 0.0]), around, 90)
    assert np.hypot(*(poses[-1] - goal)[:2]) < PARAMS.goal_tolerance_m


def test_mppi_has_no_command_when_every_rollout_touches_something() -> None:
    obstacles = np.zeros((60, 60), bool)
    obstacles[30, 30] = True
    around = surroundings(obstacles, np.array([2.5, 1.5, 0.0]))
    mppi = Mppi(base(), Footprint.circle(RADIUS_M), PARAMS)
    assert mppi.command(np.array([1.5, 1.6, 0.0]), np.zeros(3), around) is None
    assert mppi.command(np.array([9.0, 9.0, 0.0]), np.zeros(3), around) is None  # outside of what is known


def test_mppi_lets_a_person_pass() -> None:
    """A person will cross the way ahead, which is free now: only the prediction keeps the plan off."""
    goal, pose = np.array([2.8, 1.5, 0.0]), np.array([0.5, 1.5, 0.0])
    crossing = np.array([[1.3, 0.7, 0.0, 0.8, 0.25]])
    free = surroundings(np.zeros((60, 60), bool), goal)
    watched = surroundings(np.zeros((60, 60), bool), goal, crossing)
    nearest = {}
    for name, around in (("blind", free), ("seeing", watched)):
        mppi = Mppi(base(), Footprint.circle(RADIUS_M), PARAMS)
        mppi.command(pose, np.zeros(3), around)
        x, gaps = pose.copy(), []
        for t, (v, _, w) in enumerate(mppi.solution):
            x = x + PARAMS.period_s * np.array([v * np.cos(x[2]), v * np.sin(x[2]), w])
            person = crossing[0, :2] + (t + 1) * PARAMS.period_s * crossing[0, 2:4]
            gaps.append(np.hypot(*(x[:2] - person)) - 0.25 - RADIUS_M)
        nearest[name] = min(gaps)
    assert nearest["seeing"] > 0.0 and nearest["seeing"] > nearest["blind"]


def gap(footprint: Footprint, pose: Float64, hits: Float64) -> float:
    """Between the footprint at a pose and the hits."""
    c, s = np.cos(pose[2]), np.sin(pose[2])
    centres = footprint.discs[:, :2] @ np.array([[c, s], [-s, c]]) + pose[:2]
    return float((np.linalg.norm(hits[:, None] - centres[None], axis=2) - footprint.discs[:, 2]).min())


FOOTPRINTS = {
    "circle": Footprint.circle(RADIUS_M),
    "box": Footprint.polygon([(-0.35, -0.2), (0.25, -0.2), (0.25, 0.2), (-0.35, 0.2)]),
}


@given(st.sampled_from(DRIVES), st.sampled_from(sorted(FOOTPRINTS)), st.integers(0, 100_000))
@settings(max_examples=60)
def test_whatever_is_commanded_the_footprint_never_touches_what_the_lidar_sees(
    kind: str, shape: str, seed: int
) -> None:
    """The law of the safety layer: a robot that begins apart stays apart, for any obstacles and any commands."""
    rng = np.random.default_rng(seed)
    footprint, safety = FOOTPRINTS[shape], SafetyLayer(base(kind), FOOTPRINTS[shape], PARAMS)
    hits = rng.uniform(-1.6, 1.6, (60, 2))
    pose, sent = np.zeros(3), np.zeros(3)
    hits = hits[[gap(footprint, pose, hit[None]) > 0.05 for hit in hits]]
    wanted = np.zeros(3)
    for tick in range(40):
        if tick % 8 == 0:
            wanted = base(kind).velocity * rng.uniform(-1.5, 1.5, 3)
        twist = safety.filter(wanted, sent, pose, hits, NOBODY).twist
        assert keeps_limits(sent, twist, kind)
        for _ in range(5):  # finely, as the base drives
            x, y, yaw = pose
            dt = PARAMS.period_s / 5
            c, s = np.cos(yaw + 0.5 * dt * twist[2]), np.sin(yaw + 0.5 * dt * twist[2])
            pose = np.array([x + dt * (c * twist[0] - s * twist[1]), y + dt * (s * twist[0] + c * twist[1]), yaw])
            pose[2] += dt * twist[2]
            assert gap(footprint, pose, hits) > 0.0
        sent = twist


def test_on_free_floor_the_safety_layer_lets_everything_through() -> None:
    safety = SafetyLayer(base(), FOOTPRINTS["circle"], PARAMS)
    hits = np.array([[3.0, 0.0], [-3.0, 1.0]])
    sent = np.zeros(3)
    for _ in range(10):
        verdict = safety.filter(np.array([0.6, 0.0, 0.0]), sent, np.zeros(3), hits, NOBODY)
        sent = verdict.twist
        assert verdict.cause == ""
    assert sent[0] == pytest.approx(0.6)


def test_a_robot_that_stands_too_near_may_leave_but_not_come_closer() -> None:
    safety = SafetyLayer(base(), FOOTPRINTS["circle"], PARAMS)
    hits = np.array([[RADIUS_M + 0.01, 0.0]])
    ahead = safety.filter(np.array([0.3, 0.0, 0.0]), np.zeros(3), np.zeros(3), hits, NOBODY)
    back = safety.filter(np.array([-0.3, 0.0, 0.0]), np.zeros(3), np.zeros(3), hits, NOBODY)
    assert ahead.cause == "obstacle" and ahead.twist.tolist() == [0.0, 0.0, 0.0]
    assert back.cause == "" and back.twist[0] < 0.0


def test_near_a_moving_thing_the_robot_drives_slowly() -> None:
    safety = SafetyLayer(base(), FOOTPRINTS["circle"], PARAMS)
    sent = np.array([0.6, 0.0, 0.0])
    aside = np.array([[0.0, 1.0, 0.0, 0.5, 0.25]])  # a metre to the left, walking away
    hits = np.array([[0.0, 0.8]])
    for _ in range(10):
        verdict = safety.filter(np.array([0.6, 0.0, 0.0]), sent, np.zeros(3), hits, aside)
        assert verdict.cause == "moving"
        sent = verdict.twist
    assert PARAMS.moving_slow_m_s <= sent[0] < 0.4
    still = safety.filter(np.array([0.6, 0.0, 0.0]), np.array([0.6, 0.0, 0.0]), np.zeros(3), hits, NOBODY)
    assert still.twist[0] == pytest.approx(0.6)


def test_it_stops_for_what_comes_towards_it_sooner_than_for_what_stands() -> None:
    safety = SafetyLayer(base(), FOOTPRINTS["circle"], PARAMS)
    sent = np.array([0.15, 0.0, 0.0])
    hits = np.array([[0.6, 0.0]])
    coming = np.array([[0.8, 0.0, -1.0, 0.0, 0.25]])
    assert safety.filter(sent, sent, np.zeros(3), hits, NOBODY).twist[0] == pytest.approx(0.15)
    assert safety.filter(sent, sent, np.zeros(3), hits, coming).twist[0] < 0.15


def person(x: float, y: float) -> Float64:
    """Hits on the near side of somebody."""
    angles = np.linspace(2.2, 4.1, 9)
    return np.stack([x + 0.2 * np.cos(angles), y + 0.2 * np.sin(angles)], 1)


def test_somebody_who_walks_is_tracked_with_the_right_velocity() -> None:
    tracker = MovingTracker()
    for k in range(15):
        tracker.observe(person(2.0, 0.06 * k), 0.1 * k)
    found = tracker.moving()
    assert len(found) == 1
    x, y, vx, vy, radius = found[0]
    assert abs(vx) < 0.1 and vy == pytest.approx(0.6, abs=0.1)
    assert y == pytest.approx(0.84, abs=0.15) and x == pytest.approx(2.0, abs=0.2) and 0.1 <= radius < 0.4
    tracker.observe(np.zeros((0, 2)), 3.0)
    assert len(tracker.moving()) == 0


def test_a_wall_and_somebody_who_stands_do_not_move() -> None:
    tracker, rng = MovingTracker(), np.random.default_rng(0)
    wall = np.stack([np.linspace(-2, 2, 80), np.full(80, 1.5)], 1)
    for k in range(20):
        points = np.concatenate([wall, person(1.0, -1.0)])
        tracker.observe(points + rng.normal(0, 0.01, points.shape), 0.1 * k)
    assert len(tracker.moving()) == 0
