"""Compile the navigator before its first goal, or load it from numba's cache."""

from __future__ import annotations

import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_core.types import NS
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.navigator import Navigator, StampedPose
from vla_navigation.core.nav.overhead_layer import PlacedPoints
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.placed_scan import PlacedScan
from vla_navigation.core.occupancy_grid import OccupancyGrid


def warm_up(base: BaseConfig, footprint: Footprint, params: NavigatorParameters) -> None:
    """Drive for two ticks through an empty room of 6 m x 6 m."""
    cells = np.zeros((120, 120), np.int8)
    cells[[0, -1], :], cells[:, [0, -1]] = 100, 100
    nav = Navigator(base, footprint, params, OccupancyGrid(0.05, np.zeros(3), cells), height_m=1.0)
    nav.observe_points(PlacedPoints(NS, np.array([2.0, 3.0, 0.9]), np.array([[3.0, 1.0, 0.5]])))
    pose, angles = np.array([2.0, 3.0, 0.0]), np.linspace(-np.pi, np.pi, 90, endpoint=False)
    nav.go(np.array([4.0, 3.0, 0.0]))
    for tick in (1, 2):
        scan = PlacedScan(tick * NS, pose, angles, np.full(90, 1.5), 0.05, 8.0)
        nav.tick(tick * NS, StampedPose(tick * NS, pose), np.zeros(3), scan)
