"""A base, parameters, small maps and a closed loop for the tests of navigator and explorer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_core.types import NS, Float64
from vla_navigation.core.nav.backend import Result
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.navigator import Navigator, StampedPose
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.placed_scan import PlacedScan
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_sim.core.floor_plan.generate import FloorPlan, occupied
from vla_sim.core.floor_plan.world import LIDAR_LEAST_M, LIDAR_REACH_M, PlanarWorld

RADIUS_M, CELL_M = 0.22, 0.05
PARAMS = NavigatorParameters.from_config()


def base(drive: str = "differential") -> BaseConfig:
    """A base of 0.6 m/s; holonomic: 0.4 m/s sideways."""
    side = 0.4 if drive == "holonomic" else 0.0
    velocity, acceleration = np.array([0.6, side, 1.5]), np.array([0.8, 2 * side, 2.5])
    jerk = np.array([5.0, 12.0 * side, 12.0])
    return BaseConfig(drive, "base_link", 0.08, 12.0, 0.35, 0.3 if side else 0.0, velocity, acceleration, jerk)


def rooms(width_m: float, depth_m: float, *boxes: tuple[float, float, float, float]) -> FloorPlan:
    """A rectangle with boxes (x0, y0, x1, y1) in it."""
    t = 0.1
    walls = [(-t, -t, width_m + t, t), (-t, depth_m - t, width_m + t, depth_m + t)]
    walls += [(-t, -t, t, depth_m + t), (width_m - t, -t, width_m + t, depth_m + t)]
    return FloorPlan(
        (width_m, depth_m), np.array([*walls, *boxes]), np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 4))
    )


def grid_of(plan: FloorPlan) -> OccupancyGrid:
    """The map that a perfect mapping would have made."""
    cells = np.where(occupied(plan.boxes, plan.size_m, CELL_M), 100, 0).astype(np.int8)
    return OccupancyGrid(CELL_M, np.zeros(3), cells)


def grid(cells: np.ndarray) -> OccupancyGrid:
    """A map (H,W) with its corner at the origin."""
    return OccupancyGrid(CELL_M, np.zeros(3), np.asarray(cells, np.int8))


def placed(world: PlanarWorld) -> PlacedScan:
    """What the lidar sees now."""
    return PlacedScan(world.now_ns, world.pose.copy(), world.angles, world.scan(), LIDAR_LEAST_M, LIDAR_REACH_M)


def navigator(plan: FloorPlan, drive: str = "differential") -> Navigator:
    """A round robot that has the plan as its map."""
    return Navigator(base(drive), Footprint.circle(RADIUS_M), PARAMS, grid_of(plan))


def drive_to(
    world: PlanarWorld,
    nav: Navigator,
    goal: tuple[float, float, float],
    limit_s: float = 60.0,
    meanwhile: Callable[[float], None] = lambda time_s: None,
) -> Result | None:
    """Tick until the goal ends; None when it hasn't within `limit_s` of simulated time."""
    nav.go(np.array(goal))
    while world.time_s < limit_s:
        meanwhile(world.time_s)
        twist = nav.tick(world.now_ns, StampedPose(world.now_ns, world.pose.copy()), world.twist, placed(world))
        world.step(twist, PARAMS.period_s)
        if (result := nav.feedback().result) is not None:
            return result
    return None


def stamped(time_s: float, pose: Float64) -> StampedPose:
    """A pose at a time [s]."""
    return StampedPose(int(time_s * NS), np.asarray(pose, np.float64))
