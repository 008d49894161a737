"""`vla bench explore`: things that only the camera sees, in unknown flats; against the nearest lidar frontier."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_bringup.bench.flat_robot import BASE, RADIUS_M, FlatRobot, clearance_m, free_pose
from vla_bringup.bench.lidar_frontier import NearestLidarFrontier
from vla_bringup.statistics import quantiles, rounded, wilson
from vla_core.types import Float64
from vla_navigation.core.explore.explorer import Explorer
from vla_navigation.core.explore.frontiers import Frontier
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.explore.seen_layer import SeenLayer
from vla_navigation.core.explore.view_poses import ViewPose
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_sim.core.floor_plan.generate import CLEAR_M, generate
from vla_sim.core.floor_plan.mapper import GridMapper
from vla_sim.core.floor_plan.targets import in_view, place_targets
from vla_sim.core.floor_plan.world import PlanarWorld

METHODS = {"camera frontiers, gain per second": Explorer, "nearest lidar frontier": NearestLidarFrontier}
_FIRST_SEED = 2000  # of flats; tests use smaller ones
_TARGETS, _SIZE_M, _MARGIN_M = 8, (8.0, 6.0), 0.5
_CAMERA_TICKS, _MAP_TICKS = 2, 10
COVERAGE_S = (60, 120, 180, 240)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Search:
    """How one flat was searched.

    Attributes:
        found_s: (K,) when each thing was first in view, inf: never.
        coverage: (T,) share of the true floor that the camera has seen, each second.
        ended_s: When the explorer said that it was done; inf: not within the limit.
        touched: Collisions. decide_ms: CPU time of each decision.
        layer, frontiers: What was seen, and the frontiers left, at the end.
        way, targets: Places (T,2) of the robot, and of the things (K,2) [m].
    """

    found_s: Float64
    coverage: Float64
    ended_s: float
    touched: int
    decide_ms: tuple[float, ...]
    layer: SeenLayer
    frontiers: tuple[Frontier, ...]
    way: Float64
    targets: Float64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench explore`."""
    parser.add_argument("--flats", type=int, default=12, help=f"flats with {_TARGETS} things each (default 12)")
    parser.add_argument("--limit-s", type=float, default=300.0, help="simulated time per flat (default 300)")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    return ["--flats", f"{args.flats}", "--limit-s", f"{args.limit_s:g}"]


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """One row per method, in the same flats."""
    for method in METHODS:
        search(method, _FIRST_SEED - 1, 3.0)  # compiles
    found: dict[str, list[Search]] = {method: [] for method in METHODS}
    for k in range(args.flats):
        for method, searches in found.items():
            searches.append(search(method, _FIRST_SEED + k, args.limit_s))
            count = int(np.isfinite(searches[-1].found_s).sum())
            say(f"flat {_FIRST_SEED + k}, {method}: {count} of {_TARGETS}, coverage {searches[-1].coverage[-1]:.2f}")
    return [{"method": method, **summarise(searches, args.limit_s)} for method, searches in found.items()]


def search(method: str, seed: int, limit_s: float) -> Search:
    """Search one flat, of which nothing is known at first, until the explorer is done or the time is over."""
    plan = generate(seed, _SIZE_M)
    rng = np.random.default_rng([seed, 6])
    away = clearance_m(plan.boxes, plan)
    world = PlanarWorld(plan, BASE, RADIUS_M, free_pose(rng, away), seed=seed)
    targets = place_targets(plan, _TARGETS, seed)
    params = ExplorerParameters.from_config()
    rows, columns = (round((side + 2 * _MARGIN_M) / 0.05) for side in (_SIZE_M[1], _SIZE_M[0]))
    mapper = GridMapper(-_MARGIN_M, -_MARGIN_M, rows, columns)
    robot = FlatRobot(world, _grid(mapper), NavigatorParameters.from_config(), seed)
    mapper.add(robot.believed, world.angles, robot.ranges)
    explorer = METHODS[method](_grid(mapper), params)
    found_s, coverage, decide_ms = np.full(_TARGETS, np.inf), [], []
    view: ViewPose | None = None
    way: list[Float64] = []
    tick, ended_s = 0, np.inf
    while robot.time_s < limit_s:
        if tick % _CAMERA_TICKS == 0:
            mapper.add(robot.believed, world.angles, robot.ranges)
            explorer.observe(robot.believed)
            _look(world, targets, params, found_s, robot.time_s)
        renewed = tick % _MAP_TICKS == 0
        if renewed:
            explorer.set_map(_grid(mapper))
            robot.nav.set_map(_grid(mapper))
            way.append(world.pose[:2].copy())
            coverage.append(_coverage(explorer.layer.seen, away))
        result = robot.nav.feedback().result
        if view is not None and result is not None:
            explorer.report(view, result.reached, robot.time_s)
            view = None
        if renewed or view is None:
            begin_ns = time.thread_time_ns()
            decision = explorer.decide(robot.believed, robot.time_s)
            decide_ms.append((time.thread_time_ns() - begin_ns) * 1e-6)
            if decision.state == "done":
                ended_s = robot.time_s
                break
            if decision.view is not None and (view is None or not np.array_equal(decision.view.pose, view.pose)):
                view = decision.view
                robot.nav.go(view.pose)
        robot.step()
        tick += 1
    return Search(
        found_s, np.array(coverage), ended_s, world.touched, tuple(decide_ms), explorer.layer,
        explorer.frontiers(), np.array(way), targets,
    )  # fmt: skip


def summarise(searches: list[Search], limit_s: float) -> Row:
    """Numbers of one row; coverage at the times within the limit [s]."""
    found_s = np.concatenate([search.found_s for search in searches])
    within = found_s[np.isfinite(found_s)]
    low, high = wilson(len(within), len(found_s))
    decide_ms = [ms for search in searches for ms in search.decide_ms]
    row = {
        "n": len(found_s),
        "found": rounded(len(within) / len(found_s)),
        "ci_low": rounded(low),
        "ci_high": rounded(high),
        **{f"find_s_{name}": value for name, value in quantiles(within.tolist(), ("p50", "p95")).items()},
    }
    for at_s in (at_s for at_s in COVERAGE_S if at_s <= limit_s):
        shares = [s.coverage[min(at_s, len(s.coverage) - 1)] for s in searches]
        row[f"coverage_{at_s}s"] = rounded(float(np.mean(shares)))
    row["done"] = int(sum(np.isfinite(search.ended_s) for search in searches))
    row["done_s_p50"] = quantiles([s.ended_s for s in searches if np.isfinite(s.ended_s)], ("p50",))["p50"]
    row["collisions"] = sum(search.touched for search in searches)
    return {**row, **{f"decide_ms_{name}": value for name, value in quantiles(decide_ms).items()}}


def _grid(mapper: GridMapper) -> OccupancyGrid:
    return OccupancyGrid(mapper.resolution_m, np.array([mapper.x_m, mapper.y_m, 0.0]), mapper.cells())


def _look(world: PlanarWorld, targets: Float64, params: ExplorerParameters, found_s: Float64, now_s: float) -> None:
    """Note what is in view now for the first time; truth, for the score only."""
    limits = params.camera_near_m, params.camera_far_m, params.camera_fov_rad
    for k in np.flatnonzero(np.isinf(found_s)):
        if in_view(world.pose, targets[k], world.boxes, world.discs(), *limits):
            found_s[k] = now_s


def _coverage(seen: np.ndarray, away: Float64) -> float:
    """Share of the floor that the robot could stand on which is marked as seen."""
    edge = round(_MARGIN_M / 0.05)
    inner = seen[edge : edge + away.shape[0], edge : edge + away.shape[1]]
    return float(inner[away > CLEAR_M].mean())
