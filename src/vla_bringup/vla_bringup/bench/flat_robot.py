"""The robot of `vla bench nav` and `vla bench explore`: base, lidar and navigator in a generated flat.

The truth moves the robot and scores it; the navigator is given noisy scans and a pose whose error wanders.
"""

from __future__ import annotations

import time

import numpy as np
from scipy import ndimage

from vla_control.core.base.config import BaseConfig
from vla_core.types import NS, Float64
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.navigator import Navigator, StampedPose
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.placed_scan import PlacedScan
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_sim.core.floor_plan.generate import FloorPlan, occupied
from vla_sim.core.floor_plan.localiser import Localiser
from vla_sim.core.floor_plan.world import LIDAR_LEAST_M, LIDAR_REACH_M, PlanarWorld

RADIUS_M, CELL_M = 0.22, 0.05
_ROOM_TO_STAND_M = 0.4
#: 0.6 m/s, 1.5 rad/s: a small robot for flats, behind `base_node`'s limits of jerk.
BASE = BaseConfig(
    drive="differential", frame="base_link", wheel_radius_m=0.08, wheel_speed_rad_s=12.0, track_m=0.35,
    wheelbase_m=0.0, velocity=np.array([0.6, 0.0, 1.5]), acceleration=np.array([0.8, 0.0, 2.5]),
    jerk=np.array([5.0, 0.0, 12.0]),
)  # fmt: skip


def clearance_m(boxes: Float64, plan: FloorPlan) -> Float64:
    """Distance of every cell of a flat to the nearest box (B,4), float64 (rows, columns) [m]."""
    away: Float64 = ndimage.distance_transform_edt(~occupied(boxes, plan.size_m, CELL_M)) * CELL_M
    return away


def free_pose(
    rng: np.random.Generator, away: Float64, apart_from: Float64 | None = None, apart_m: float = 0.0
) -> Float64:
    """A pose (3,) with room to stand, drawn evenly; at least `apart_m` from a point."""
    places = CELL_M * (np.argwhere(away > _ROOM_TO_STAND_M)[:, ::-1] + 0.5)
    if apart_from is not None:
        places = places[np.hypot(*(places - apart_from[:2]).T) >= apart_m]
    return np.array([*places[rng.integers(len(places))], rng.uniform(-np.pi, np.pi)])


class FlatRobot:
    """Ticks a navigator in a world.

    Args:
        world: Of a robot with RADIUS_M and BASE. grid: First map. params: Of the navigator. seed: Of the pose error.

    Attributes:
        nav: The navigator. believed: (3,) where localisation has the robot. ranges: (N,) of the last scan.
        tick_ms: CPU time of each tick. driven_m: Way so far, true.
    """

    def __init__(self, world: PlanarWorld, grid: OccupancyGrid, params: NavigatorParameters, seed: int) -> None:
        self.world, self._params = world, params
        self.nav = Navigator(BASE, Footprint.circle(RADIUS_M), params, grid)
        self._localiser = Localiser(seed)
        self.tick_ms: list[float] = []
        self.driven_m = 0.0
        self.sense()

    def sense(self) -> None:
        """Take a scan and the pose that belongs to it."""
        self.believed = self._localiser.measure(self.world.pose, self._params.period_s)
        self.ranges = self.world.scan()

    def step(self) -> None:
        """One control period, and the next scan."""
        world, now_ns = self.world, self.world.now_ns
        scan = PlacedScan(now_ns, self.believed, world.angles, self.ranges, LIDAR_LEAST_M, LIDAR_REACH_M)
        begin_ns = time.thread_time_ns()
        twist = self.nav.tick(now_ns, StampedPose(now_ns, self.believed), world.twist, scan)
        self.tick_ms.append((time.thread_time_ns() - begin_ns) * 1e-6)
        before = world.pose[:2]
        world.step(twist, self._params.period_s)
        self.driven_m += float(np.hypot(*(world.pose[:2] - before)))
        self.sense()

    @property
    def time_s(self) -> float:
        """Simulated time since the beginning."""
        return (self.world.now_ns - NS) / NS
