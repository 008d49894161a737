"""`vla bench nav`: goals in flats that nobody has seen, with people and with furniture that the map doesn't have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vla_bringup.bench.flat_robot import BASE, CELL_M, RADIUS_M, FlatRobot, clearance_m, free_pose
from vla_bringup.statistics import quantiles, rounded, wilson
from vla_core.types import Float64
from vla_navigation.core.nav.codes import PlanError
from vla_navigation.core.nav.costmap import Costmap
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.planner import GlobalPlanner
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_sim.core.floor_plan.generate import generate, occupied
from vla_sim.core.floor_plan.world import PlanarWorld

#: Condition → people, share of the furniture that the map doesn't have.
CONDITIONS = {"as mapped": (0, 0.0), "3 people, a third of the furniture unmapped": (3, 0.34)}
_FIRST_SEED = 1000  # of flats; tests use smaller ones
_APART_M, _LIMIT_S = 3.0, 150.0
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Episode:
    """How one goal went."""

    reached: bool
    code: int
    touched: int
    was_touched: int
    spl: float
    time_s: float
    recoveries: int
    tick_ms: tuple[float, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench nav`."""
    parser.add_argument("--episodes", type=int, default=50, help="flats per condition, one goal in each (default 50)")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    return ["--episodes", f"{args.episodes}"]


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """One row per condition; times per tick are CPU time of this thread, global plans among them."""
    play(_FIRST_SEED - 1, 0, 0.0, limit_s=5.0)  # compiles
    rows = []
    for condition, (people, unmapped) in CONDITIONS.items():
        episodes = []
        for k in range(args.episodes):
            episodes.append(play(_FIRST_SEED + k, people, unmapped))
            say(f"{condition}, flat {_FIRST_SEED + k}: {'reached' if episodes[-1].reached else episodes[-1].code}")
        rows.append({"condition": condition, **summarise(episodes)})
    return rows


def passed(rows: list[Row]) -> bool:
    """Nothing was hit."""
    return all(row["collisions"] == 0 for row in rows)


def play(seed: int, people: int, unmapped: float, limit_s: float = _LIMIT_S) -> Episode:
    """One goal in one flat.

    Args:
        seed: Of everything.
        people: Who walk about.
        unmapped: Share of the furniture that came after the map was made.
        limit_s: Then it counts as not reached [s, simulated].
    """
    plan, rng = generate(seed), np.random.default_rng([seed, 5])
    known = rng.random(len(plan.furniture)) >= unmapped
    away = clearance_m(plan.boxes, plan)
    start = free_pose(rng, away)
    goal = free_pose(rng, away, start, _APART_M)
    mapped = np.concatenate([plan.walls, plan.furniture[known]])
    params = NavigatorParameters.from_config()
    world = PlanarWorld(plan, BASE, RADIUS_M, start, people, seed)
    robot = FlatRobot(world, grid_of(mapped, plan.size_m), params, seed)
    robot.nav.go(goal)
    while robot.time_s < limit_s and robot.nav.feedback().result is None:
        robot.step()
    feedback = robot.nav.feedback()
    reached = feedback.result is not None and feedback.result.reached
    reached = reached and bool(np.hypot(*(world.pose[:2] - goal[:2])) <= 2.0 * params.goal_tolerance_m)
    shortest_m = _shortest_m(grid_of(plan.boxes, plan.size_m), start, goal, params)
    spl = shortest_m / max(shortest_m, robot.driven_m) if reached else 0.0
    code = int(feedback.result.code) if feedback.result is not None else -1
    return Episode(
        reached, code, world.touched, world.was_touched, spl, robot.time_s, feedback.recoveries, tuple(robot.tick_ms)
    )  # fmt: skip


def summarise(episodes: list[Episode]) -> Row:
    """Numbers of one row; SPL as Anderson et al., "On evaluation of embodied navigation agents", 2018."""
    count = sum(episode.reached for episode in episodes)
    low, high = wilson(count, len(episodes))
    ticks = [ms for episode in episodes for ms in episode.tick_ms]
    return {
        "n": len(episodes),
        "success": rounded(count / len(episodes)),
        "ci_low": rounded(low),
        "ci_high": rounded(high),
        "collisions": sum(episode.touched for episode in episodes),
        "bumped_at_rest": sum(episode.was_touched for episode in episodes),
        "spl": rounded(float(np.mean([episode.spl for episode in episodes]))),
        "time_s_p50": quantiles([e.time_s for e in episodes if e.reached], ("p50",))["p50"],
        "recoveries": sum(episode.recoveries for episode in episodes),
        "ticks": len(ticks),
        **{f"tick_ms_{name}": value for name, value in quantiles(ticks).items()},
        "tick_ms_max": rounded(max(ticks)),
    }


def grid_of(boxes: Float64, size_m: tuple[float, float]) -> OccupancyGrid:
    """The map of a flat in which these boxes (B,4) stand."""
    cells = np.where(occupied(boxes, size_m, CELL_M), 100, 0).astype(np.int8)
    return OccupancyGrid(CELL_M, np.zeros(3), cells)


def _shortest_m(grid: OccupancyGrid, start: Float64, goal: Float64, params: NavigatorParameters) -> float:
    """Length of the shortest way that the robot fits through, in the true flat without people [m]."""
    costmap = Costmap(grid, params.mark_range_m, params.obstacle_memory_s)
    try:
        return GlobalPlanner(RADIUS_M, replace(params, inflation_weight=0.0)).plan(costmap, start, goal).length_m
    except PlanError as error:
        raise AssertionError("generated flats hang together") from error
