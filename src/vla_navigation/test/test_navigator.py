"""The navigator in closed loop, in small worlds with a name."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from navigation_data import PARAMS, RADIUS_M, base, drive_to, grid, grid_of, navigator, placed, rooms, stamped

from vla_core.errors import ConfigError
from vla_core.files import load_yaml, workspace_root
from vla_core.types import NS, Float64
from vla_navigation.core.nav.backend import NavigatorBackend
from vla_navigation.core.nav.codes import Code
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.navigator import Navigator
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.placed_scan import PlacedScan
from vla_navigation.core.nav.progress import ProgressChecker
from vla_sim.core.floor_plan.generate import FloorPlan
from vla_sim.core.floor_plan.walkers import Walker
from vla_sim.core.floor_plan.world import PlanarWorld

START = np.array([1.0, 1.5, 0.0])


def world_of(plan: FloorPlan, start=START, drive: str = "differential") -> PlanarWorld:
    """Without people."""
    return PlanarWorld(plan, base(drive), RADIUS_M, np.array(start))


def door(width_m: float) -> FloorPlan:
    """Two rooms with a door in the middle."""
    half = width_m / 2
    return rooms(5.0, 3.0, (2.5, 0.0, 2.6, 1.5 - half), (2.5, 1.5 + half, 2.6, 3.0))


@pytest.mark.parametrize("drive", ["differential", "holonomic"])
def test_a_door_of_70_cm_is_wide_enough_for_a_robot_of_44(drive: str) -> None:
    world, nav = world_of(door(0.7), (1.0, 0.8, 2.0), drive), navigator(door(0.7), drive)
    result = drive_to(world, nav, (4.0, 2.2, -1.5))
    assert result is not None and result.reached
    assert world.touched == 0 and nav.feedback().recoveries == 0
    assert np.hypot(*(world.pose[:2] - [4.0, 2.2])) <= PARAMS.goal_tolerance_m + 0.02
    assert abs(world.pose[2] + 1.5) <= PARAMS.goal_tolerance_rad + 0.02


@pytest.mark.parametrize("room_m", [0.05, 0.1, 0.15])
def test_regression_a_goal_beside_a_wall_is_driven_to_without_dawdling(room_m: float) -> None:
    """Nearness cost time instead of way, so rest 0.17 m before such a goal was the cheapest: three minutes of it."""
    plan = rooms(5.0, 3.0)
    world, nav = world_of(plan), navigator(plan)
    result = drive_to(world, nav, (5.0 - 0.1 - RADIUS_M - room_m, 1.5, 0.0))
    assert result is not None and result.reached
    assert nav.feedback().recoveries == 0 and world.touched == 0
    assert world.time_s < 3.0 * 3.6 / base().velocity[0]


def test_a_door_that_is_shut_on_the_way_leads_round_by_the_other_one() -> None:
    plan = rooms(6.0, 3.0, (3.0, 0.0, 3.1, 0.4), (3.0, 1.2, 3.1, 1.8), (3.0, 2.6, 3.1, 3.0))
    world, nav = world_of(plan, (1.0, 0.8, 0.0)), navigator(plan)
    shut = np.concatenate([plan.boxes, [[3.0, 0.4, 3.1, 1.2]]])

    def shut_it(_time_s: float) -> None:
        if world.pose[0] > 1.7:
            world.boxes = shut

    result = drive_to(world, nav, (5.0, 0.8, 0.0), 90.0, shut_it)
    assert result is not None and result.reached
    assert world.touched == 0 and len(world.boxes) == len(shut)


def test_when_the_only_door_is_shut_the_goal_ends_with_a_code() -> None:
    world, nav = world_of(door(0.9)), navigator(door(0.9))
    shut = np.concatenate([world.boxes, [[2.5, 1.0, 2.6, 2.0]]])

    def shut_it(_time_s: float) -> None:
        world.boxes = shut

    result = drive_to(world, nav, (4.0, 1.5, 0.0), 200.0, shut_it)
    assert result is not None and not result.reached
    assert result.code in (Code.PLAN_NO_VALID_PATH, Code.CONTROL_FAILED_TO_MAKE_PROGRESS)
    assert nav.feedback().recoveries == PARAMS.max_recoveries and world.touched == 0
    assert "expected" in result.message and "fix" in result.message


def test_a_goal_inside_an_obstacle_is_refused_at_once() -> None:
    plan = rooms(5.0, 3.0, (3.0, 0.8, 4.2, 2.2))
    world, nav = world_of(plan), navigator(plan)
    result = drive_to(world, nav, (3.6, 1.5, 0.0))
    assert result is not None and result.code is Code.PLAN_GOAL_OCCUPIED
    assert world.time_s < 0.2 and nav.feedback().recoveries == 0


def test_a_robot_that_the_map_walls_in_is_told_so_at_once() -> None:
    box = [(0.4, 0.9, 0.5, 2.1), (1.5, 0.9, 1.6, 2.1), (0.4, 0.9, 1.6, 1.0), (0.4, 2.0, 1.6, 2.1)]
    plan = rooms(5.0, 3.0, *box)
    result = drive_to(world_of(plan), navigator(plan), (4.0, 1.5, 0.0))
    assert result is not None and result.code is Code.PLAN_NO_VALID_PATH


def test_a_robot_that_is_boxed_in_by_what_the_map_does_not_have_gives_up_and_touches_nothing() -> None:
    box = [(0.4, 0.9, 0.5, 2.1), (1.5, 0.9, 1.6, 2.1), (0.4, 0.9, 1.6, 1.0), (0.4, 2.0, 1.6, 2.1)]
    world, nav = world_of(rooms(5.0, 3.0, *box)), navigator(rooms(5.0, 3.0))
    result = drive_to(world, nav, (4.0, 1.5, 0.0), 200.0)
    assert result is not None and not result.reached and int(result.code) in range(100, 209)
    assert world.touched == 0


class Crossing(Walker):
    """From below the robot's way to above it; does not give way."""

    time_s = 0.0

    def advance(self, dt: float, robot: Float64, robot_radius_m: float) -> None:
        self.time_s += dt
        self.position = np.array([3.0, 0.4 + min(2.2, 0.5 * max(0.0, self.time_s - 1.5))])


def test_a_person_who_crosses_is_not_touched_and_the_goal_is_reached() -> None:
    plan = rooms(6.0, 3.0)
    world, nav = world_of(plan), navigator(plan)
    world.walkers = [Crossing(np.random.default_rng(0), np.ones((60, 120)), 0.05, START[:2])]
    result = drive_to(world, nav, (5.0, 1.5, 0.0), 60.0)
    assert result is not None and result.reached
    assert world.touched == 0 and world.was_touched == 0


def test_nan_in_scans_is_no_obstacle_and_no_free_way() -> None:
    plan = rooms(5.0, 3.0)
    world, nav = world_of(plan), navigator(plan)
    see = world.scan

    def half_blind() -> np.ndarray:
        ranges = see()
        ranges[::3] = np.nan
        return ranges

    world.scan = half_blind  # type: ignore[method-assign]
    result = drive_to(world, nav, (4.0, 1.5, 0.0))
    assert result is not None and result.reached and world.touched == 0


def ticked(nav: Navigator, world: PlanarWorld, ticks: int) -> list[np.ndarray]:
    """Twists given while pose and scan are fresh."""
    twists = []
    for _ in range(ticks):
        pose = stamped(world.now_ns / NS, world.pose)
        twists.append(nav.tick(world.now_ns, pose, world.twist, placed(world)))
        world.step(twists[-1], PARAMS.period_s)
    return twists


def test_without_a_fresh_pose_the_base_brakes_and_in_time_the_goal_ends() -> None:
    world, nav = world_of(rooms(6.0, 3.0)), navigator(rooms(6.0, 3.0))
    nav.go(np.array([5.0, 1.5, 0.0]))
    assert ticked(nav, world, 25)[-1][0] > 0.3
    old, twists = stamped(world.now_ns / NS, world.pose), []
    for _ in range(80):
        twists.append(nav.tick(world.now_ns, old, world.twist, placed(world)))
        world.step(twists[-1], PARAMS.period_s)
        if nav.feedback().result is not None:
            break
    late = int(PARAMS.stale_s / PARAMS.period_s) + 2
    speeds = [float(twist[0]) for twist in twists[late:]]
    assert all(after <= before for before, after in pairwise(speeds))
    assert speeds[12] == 0.0
    result = nav.feedback().result
    assert result is not None and result.code is Code.CONTROL_TF_ERROR


@pytest.mark.parametrize("fault", ["no scan", "all NaN", "all inf", "NaN pose", "NaN twist"])
def test_what_can_t_be_driven_by_stands_still(fault: str) -> None:
    world, nav = world_of(rooms(5.0, 3.0)), navigator(rooms(5.0, 3.0))
    nav.go(np.array([4.0, 1.5, 0.0]))
    scan = placed(world)
    pose, twist = world.pose.copy(), np.zeros(3)
    if fault == "no scan":
        scan = None
    elif fault == "all NaN":
        scan = PlacedScan(scan.stamp_ns, scan.pose, scan.angles_rad, np.full(360, np.nan), 0.05, 8.0)
    elif fault == "all inf":  # regression: a covered lidar says that nothing is there, and was believed
        scan = PlacedScan(scan.stamp_ns, scan.pose, scan.angles_rad, np.full(360, np.inf), 0.05, 8.0)
    elif fault == "NaN pose":
        pose[0] = np.nan
    else:
        twist[2] = np.nan
    assert nav.tick(world.now_ns, stamped(world.now_ns / NS, pose), twist, scan).tolist() == [0.0, 0.0, 0.0]
    assert nav.feedback().state == "blind"


def test_cancel_brings_the_base_to_rest_and_says_so() -> None:
    world, nav = world_of(rooms(6.0, 3.0)), navigator(rooms(6.0, 3.0))
    nav.go(np.array([5.0, 1.5, 0.0]))
    before = ticked(nav, world, 25)[-1]
    nav.cancel()
    result = nav.feedback().result
    assert result is not None and result.cancelled and not result.reached
    after = ticked(nav, world, 12)
    assert before[0] > 0.3 and after[0][0] < before[0] and np.abs(after[-1]).max() == 0.0
    assert nav.feedback().state == "idle" and nav.feedback().distance_remaining_m == 0.0


def test_feedback_counts_down() -> None:
    world, nav = world_of(rooms(6.0, 3.0)), navigator(rooms(6.0, 3.0))
    nav.go(np.array([5.0, 1.5, 0.0]))
    ticked(nav, world, 2)
    first = nav.feedback()
    ticked(nav, world, 30)
    then = nav.feedback()
    assert first.state == then.state == "following" and first.distance_remaining_m == pytest.approx(4.0, abs=0.3)
    assert then.distance_remaining_m < first.distance_remaining_m - 0.5
    assert then.navigation_time_s == pytest.approx(3.1) and 0.0 < then.time_remaining_s < 60.0


def test_a_new_goal_replaces_the_one_before() -> None:
    world, nav = world_of(rooms(6.0, 3.0)), navigator(rooms(6.0, 3.0))
    nav.go(np.array([5.0, 1.5, 0.0]))
    ticked(nav, world, 10)
    result = drive_to(world, nav, (1.5, 2.2, 1.0))
    assert result is not None and result.reached and np.hypot(*(world.pose[:2] - [1.5, 2.2])) < 0.2


def test_a_map_that_grows_under_way_is_driven_on() -> None:
    plan = rooms(6.0, 3.0)
    world = world_of(plan)
    half = grid_of(plan).cells.copy()
    half[:, 60:] = -1
    nav = Navigator(base(), Footprint.circle(RADIUS_M), PARAMS, grid(half))

    def mapped(time_s: float) -> None:
        if 2.0 < time_s < 2.2:
            nav.set_map(grid_of(plan))

    result = drive_to(world, nav, (5.0, 1.5, 0.0), 60.0, mapped)
    assert result is not None and result.reached


def test_the_navigator_is_a_backend() -> None:
    backend: NavigatorBackend = navigator(rooms(4.0, 3.0))
    plan = backend.plan(START, np.array([3.0, 1.5, 0.0]))
    assert plan.length_m == pytest.approx(2.0, abs=0.05)
    assert backend.feedback().state == "idle" and backend.feedback().result is None


def test_progress_is_a_shorter_way_and_not_motion() -> None:
    checker = ProgressChecker(0.2, 5.0)
    checker.reset(0.0)
    assert checker.check(3.0, 0.1)
    assert all(checker.check(3.0 + 0.5 * (-1) ** k, 0.5 * k) for k in range(1, 9))
    assert not checker.check(2.9, 6.0)
    checker.reset(6.0)
    assert checker.check(9.0, 6.5)


def test_codes_are_nav2_s() -> None:
    assert (Code.CONTROL_UNKNOWN, Code.CONTROL_TIMED_OUT) == (100, 107)
    assert (Code.PLAN_UNKNOWN, Code.PLAN_NO_VALID_PATH) == (200, 208)
    assert Code.NONE == 0


def test_parameters_have_a_schema_with_bounds_that_they_keep() -> None:
    folder = workspace_root() / "src/vla_navigation/vla_navigation/parameters"
    schema = load_yaml(folder / "navigator_node.yaml")
    names = {field.name for field in fields(NavigatorParameters)}
    assert names <= set(schema), "the others are the node's own"
    for name in names:
        if "bounds" in schema[name]:
            low, high = schema[name]["bounds"]
            assert low <= getattr(PARAMS, name) <= high, name
    with pytest.raises(ConfigError, match="samples = 0"):
        replace(PARAMS, samples=0)
    with pytest.raises(ConfigError, match="moving_slow_m"):
        replace(PARAMS, moving_slow_m=0.1)
