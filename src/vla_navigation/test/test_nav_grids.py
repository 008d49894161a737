"""Costmap, distances, planner and paths, each against something slow and obvious."""

from __future__ import annotations

import heapq
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from navigation_data import CELL_M, PARAMS, grid

from vla_core.errors import ConfigError, MapError
from vla_core.types import NS
from vla_navigation.core.nav.codes import Code, PlanError
from vla_navigation.core.nav.costmap import Costmap, distances
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.placed_scan import PlacedScan
from vla_navigation.core.nav.planner import GlobalPlanner
from vla_navigation.core.nav.smoothing import path_length
from vla_navigation.core.nav.travel import descend, travel_field
from vla_navigation.core.occupancy_grid import OccupancyGrid

NOTHING = np.zeros(1, bool)


def random_cells(seed: int, rows: int = 24, columns: int = 30, share: float = 0.06) -> np.ndarray:
    """Single obstacles, a wall or two, some unknown."""
    rng = np.random.default_rng(seed)
    cells = np.where(rng.random((rows, columns)) < share, 100, 0)
    cells[rng.integers(rows), : rng.integers(columns)] = 100
    cells[rng.random((rows, columns)) < 0.1] = -1
    return cells


def slow_field(cost: np.ndarray, goal: tuple[int, int]) -> np.ndarray:
    """Dijkstra as a textbook has it."""
    best = {goal: 0.0} if math.isfinite(cost[goal]) else {}
    heap, done = [(0.0, goal)], set()
    while heap and best:
        spent, (r, c) = heapq.heappop(heap)
        if (r, c) in done:
            continue
        done.add((r, c))
        for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            to = (r + dr, c + dc)
            if not (0 <= to[0] < cost.shape[0] and 0 <= to[1] < cost.shape[1]) or not math.isfinite(cost[to]):
                continue
            if dr and dc and not (math.isfinite(cost[r, to[1]]) and math.isfinite(cost[to[0], c])):
                continue
            total = spent + CELL_M * math.hypot(dr, dc) * 0.5 * float(cost[r, c] + cost[to])
            if total < best.get(to, math.inf):
                best[to] = total
                heapq.heappush(heap, (total, to))
    field = np.full(cost.shape, np.inf)
    for cell, total in best.items():
        field[cell] = total
    return field


@given(st.integers(0, 10_000))
def test_distances_are_exact(seed: int) -> None:
    obstacles = random_cells(seed) == 100
    found = distances(obstacles, CELL_M)
    at = np.argwhere(obstacles)
    everywhere = np.argwhere(np.ones_like(obstacles))
    brute = CELL_M * np.linalg.norm(everywhere[:, None] - at[None], axis=2).min(1).reshape(obstacles.shape)
    np.testing.assert_allclose(found, brute, rtol=1e-5, atol=1e-6)


def test_without_obstacles_everything_is_far() -> None:
    assert distances(np.zeros((4, 5), bool), CELL_M).min() > 100.0


@given(st.integers(0, 10_000))
def test_travel_field_is_that_of_a_slow_dijkstra_and_its_way_costs_as_much(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost = np.where(random_cells(seed) == 100, np.inf, rng.uniform(1.0, 5.0, (24, 30))).astype(np.float32)
    goal = (int(rng.integers(24)), int(rng.integers(30)))
    field, slow = travel_field(cost, *goal, CELL_M), slow_field(cost, goal)
    np.testing.assert_allclose(field, slow, rtol=1e-4)
    reachable = np.argwhere(np.isfinite(field))
    if not len(reachable):
        return
    start = reachable[rng.integers(len(reachable))]
    way = descend(field, cost, int(start[0]), int(start[1]), CELL_M)
    assert tuple(way[0]) == tuple(start) and tuple(way[-1]) == goal
    steps = np.hypot(*np.diff(way, axis=0).T)
    mean = 0.5 * (cost[tuple(way[:-1].T)] + cost[tuple(way[1:].T)])
    assert CELL_M * float((steps * mean).sum()) == pytest.approx(slow[tuple(start)], rel=1e-4, abs=1e-6)


def test_a_limited_field_is_right_as_far_as_it_goes() -> None:
    cost = np.ones((20, 40), np.float32)
    whole, part = travel_field(cost, 10, 5, CELL_M), travel_field(cost, 10, 5, CELL_M, 0.5)
    near = whole <= 0.5
    np.testing.assert_array_equal(part[near], whole[near])
    assert np.isinf(part[whole > 0.6]).all()


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_a_plan_never_leads_through_lethal_cells_and_is_no_longer_than_the_cheapest_way(seed: int) -> None:
    cells = random_cells(seed, 60, 60, 0.006)
    costmap, planner = Costmap(grid(cells), 5.0, 10.0), GlobalPlanner(0.15, PARAMS)
    rng = np.random.default_rng(seed)
    start, goal = (np.array([*rng.uniform(0.1, 2.9, 2), 0.0]) for _ in range(2))
    cost = planner.cost(costmap, costmap.distance_m())
    try:
        plan = planner.plan(costmap, start, goal)
    except PlanError as error:
        assert error.number in (Code.PLAN_START_OCCUPIED, Code.PLAN_GOAL_OCCUPIED, Code.PLAN_NO_VALID_PATH)
        if error.number == Code.PLAN_NO_VALID_PATH:
            first = costmap.frame.cell(*start[:2])
            if math.isfinite(cost[first]) and math.isfinite(cost[costmap.frame.cell(*goal[:2])]):
                assert math.isinf(slow_field(cost, costmap.frame.cell(*goal[:2]))[first])
        return
    on = costmap.frame.cells(plan.path[1:, :2])
    assert np.isfinite(cost[tuple(on.T)]).all()
    assert (costmap.distance_m()[tuple(on.T)] >= 0.15 - 1e-6).all()
    np.testing.assert_allclose(plan.path[0, :2], start[:2])
    np.testing.assert_allclose(plan.path[-1], plan.goal)
    steps = np.linalg.norm(np.diff(plan.path[:, :2], axis=0), axis=1)
    assert steps[0] < 0.4 and steps[1:].max(initial=0.0) < 0.2
    unit = np.where(np.isfinite(cost), 1.0, np.inf).astype(np.float32)
    cheapest = float(plan.field[costmap.frame.cell(*plan.path[1, :2])])
    assert plan.length_m <= cheapest + 0.5  # a metre costs at least 1, so the way is no longer than its cost
    shortest = travel_field(unit, *costmap.frame.cell(*plan.goal[:2]), CELL_M)[costmap.frame.cell(*plan.path[1, :2])]
    assert plan.length_m >= 0.92 * float(shortest) - 0.15  # eight directions lengthen a straight way by up to 8 %


def test_on_even_floor_the_path_is_straight() -> None:
    costmap = Costmap(grid(np.zeros((80, 80))), 5.0, 10.0)
    start, goal = np.array([0.5, 0.4, 0.0]), np.array([3.4, 1.7, 1.0])
    plan = GlobalPlanner(0.2, PARAMS).plan(costmap, start, goal)
    assert plan.length_m < 1.02 * np.hypot(*(goal - start)[:2])
    assert plan.path[-1].tolist() == goal.tolist()
    assert path_length(plan.path) == plan.length_m


def closed_map() -> np.ndarray:
    """Two rooms without a door."""
    cells = np.zeros((60, 80))
    cells[:, 40] = 100
    return cells


@pytest.mark.parametrize(
    ("start", "goal", "code"),
    [
        ((-1.0, 1.0), (1.0, 1.0), Code.PLAN_START_OUTSIDE_MAP),
        ((1.0, 1.0), (9.0, 1.0), Code.PLAN_GOAL_OUTSIDE_MAP),
        ((1.0, 1.0), (3.0, 1.0), Code.PLAN_NO_VALID_PATH),
        ((1.0, 2.5), (1.0, 1.0), Code.PLAN_START_OCCUPIED),
        ((1.0, 1.0), (1.0, 2.5), Code.PLAN_GOAL_OCCUPIED),
    ],
)
def test_failures_have_nav2_s_codes_and_say_how_to_mend_them(start, goal, code: Code) -> None:
    cells = closed_map()
    cells[40:, :35] = 100
    costmap = Costmap(grid(cells), 5.0, 10.0)
    with pytest.raises(PlanError, match=r"^got .*; expected .*; fix: ") as error:
        GlobalPlanner(0.2, PARAMS).plan(costmap, np.array([*start, 0.0]), np.array([*goal, 0.0]))
    assert error.value.number is code and 200 <= int(code) <= 208


def test_a_goal_too_near_to_a_wall_is_moved_no_further_than_allowed() -> None:
    costmap = Costmap(grid(closed_map()), 5.0, 10.0)
    plan = GlobalPlanner(0.2, PARAMS).plan(costmap, np.array([0.5, 1.0, 0.0]), np.array([1.95, 1.0, 0.5]))
    moved = np.hypot(*(plan.goal[:2] - [1.95, 1.0]))
    assert 0.0 < moved <= PARAMS.goal_search_m + CELL_M and plan.goal[2] == 0.5


def test_unknown_cells_are_closed_or_dearer() -> None:
    cells = np.zeros((40, 80))
    cells[:, 40] = -1
    costmap = Costmap(grid(cells), 5.0, 10.0)
    ends = np.array([1.0, 1.0, 0.0]), np.array([3.0, 1.0, 0.0])
    through = GlobalPlanner(0.2, PARAMS).plan(costmap, *ends)
    assert through.field[costmap.frame.cell(1.0, 1.0)] > through.length_m
    with pytest.raises(PlanError) as error:
        GlobalPlanner(0.2, replace(PARAMS, allow_unknown=False)).plan(costmap, *ends)
    assert error.value.number is Code.PLAN_NO_VALID_PATH


def scan(angles, ranges, stamp_s: float = 1.0, pose=(1.0, 1.0, 0.0)) -> PlacedScan:
    """From (1, 1) m by default."""
    return PlacedScan(int(stamp_s * NS), np.array(pose), np.array(angles, float), np.array(ranges, float), 0.05, 8.0)


def test_hits_mark_rays_clear_and_nan_does_neither() -> None:
    costmap = Costmap(grid(np.zeros((60, 60))), 5.0, 10.0)
    here = costmap.frame.cell(2.02, 1.02)
    costmap.observe(scan([0.0], [1.02], pose=(1.0, 1.02, 0.0)), NOTHING)
    assert costmap.distance_m()[here] == 0.0
    costmap.observe(scan([0.0], [np.nan], 1.1, pose=(1.0, 1.02, 0.0)), NOTHING)
    assert costmap.distance_m()[here] == 0.0
    costmap.observe(scan([0.0], [0.01], 1.2, pose=(1.0, 1.02, 0.0)), NOTHING)  # nearer than the lidar can measure
    assert costmap.distance_m()[here] == 0.0
    costmap.observe(scan([0.0], [np.inf], 1.3, pose=(1.0, 1.02, 0.0)), NOTHING)
    assert costmap.distance_m()[here] > 1.0


def test_marks_are_forgotten_in_time_and_what_moves_on_is_not_marked() -> None:
    costmap = Costmap(grid(np.zeros((60, 60))), 5.0, 10.0)
    costmap.observe(scan([0.0], [1.0]), NOTHING)
    costmap.observe(scan([1.5], [1.0], 10.5), NOTHING)
    assert costmap.distance_m()[costmap.frame.cell(2.0, 1.0)] == 0.0
    costmap.observe(scan([1.5], [1.0], 11.5), NOTHING)
    assert costmap.distance_m()[costmap.frame.cell(2.0, 1.0)] > 0.5
    costmap.observe(scan([-0.7], [1.0], 11.6), ~NOTHING)
    assert costmap.distance_m()[costmap.frame.cell(1.76, 0.36)] > 0.5


def test_a_map_that_grows_keeps_what_the_lidar_saw() -> None:
    costmap = Costmap(grid(np.zeros((60, 60))), 5.0, 10.0)
    costmap.observe(scan([0.0], [1.0]), NOTHING)
    costmap.set_map(OccupancyGrid(CELL_M, np.array([-1.0, -0.5, 0.0]), np.zeros((100, 120), np.int8)))
    assert costmap.distance_m()[costmap.frame.cell(2.0, 1.0)] == 0.0
    with pytest.raises(MapError, match="turned"):
        costmap.set_map(OccupancyGrid(CELL_M, np.array([0.0, 0.0, 0.1]), np.zeros((10, 10), np.int8)))


@given(st.integers(0, 1000), st.floats(-1.0, 4.0), st.floats(-1.0, 4.0))
def test_a_window_has_the_distances_of_the_whole_within_its_reach(seed: int, x: float, y: float) -> None:
    costmap = Costmap(grid(random_cells(seed, 60, 60, 0.004)), 5.0, 10.0)
    costmap.observe(scan(np.linspace(-3, 3, 40), np.full(40, 0.8)), np.zeros(40, bool))
    window = costmap.window(x, y, 0.6)
    part, whole = costmap.distance_m(window), costmap.distance_m()[window]
    assert part.shape == whole.shape and (part >= whole - 1e-6).all()
    frame = costmap.frame.part(window)
    for r, c in np.argwhere(part > whole + 1e-6):  # only where the nearest obstacle lies outside of it
        border = min(r, c, frame.rows - 1 - r, frame.columns - 1 - c)
        assert whole[r, c] > border * CELL_M


def test_frames_round_trip() -> None:
    frame = GridFrame(0.1, -1.0, 2.0, 30, 40)
    cells = np.array([[0, 0], [29, 39], [7, 11]])
    np.testing.assert_array_equal(frame.cells(frame.points(cells)), cells)
    assert frame.holds(np.array([[0, 39], [30, 0], [-1, 3]])).tolist() == [True, False, False]


@given(st.lists(st.tuples(st.floats(0.12, 0.35), st.floats(-0.15, 0.15)), min_size=4, max_size=8))
@settings(max_examples=10)
def test_discs_cover_a_polygon_and_overhang_it_little(rays) -> None:
    angles = np.linspace(0, 2 * np.pi, len(rays), endpoint=False) + [off for _, off in rays]
    corners = [(r * math.cos(a), r * math.sin(a)) for (r, _), a in zip(rays, angles, strict=True)]
    footprint = Footprint.polygon(corners)
    rng = np.random.default_rng(len(rays))
    outline = np.array(corners)
    k, share = rng.integers(len(corners), size=300), rng.random(300)[:, None]
    edge = outline[k] + share * (np.roll(outline, -1, 0)[k] - outline[k])
    inside = edge * rng.random(300)[:, None] ** 0.5  # star-shaped about the origin
    for points in (edge, inside):
        away = np.linalg.norm(points[:, None] - footprint.discs[None, :, :2], axis=2) - footprint.discs[:, 2]
        assert away.min(1).max() <= 1e-9
    assert footprint.circumscribed_m <= np.hypot(*outline.T).max() + 0.05 + 1e-6
    assert 0 < footprint.inscribed_m <= np.hypot(*outline.T).min() + 1e-6


@pytest.mark.parametrize(
    "corners",
    [
        [(0.1, 0.1), (0.2, 0.1)],
        [(0.1, 0.1), (0.3, 0.1), (0.2, 0.3)],
        [(0, 0), (1, np.nan), (1, 1)],
    ],
)
def test_impossible_footprints_are_refused(corners) -> None:
    with pytest.raises(ConfigError, match="footprint"):
        Footprint.polygon(corners)
    with pytest.raises(ConfigError, match="footprint"):
        Footprint.circle(0.0)
