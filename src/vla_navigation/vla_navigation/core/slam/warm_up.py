"""Compile the SLAM before the first scan, or load it from numba's cache."""

from __future__ import annotations

import numpy as np

from vla_core.types import NS
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.slam.place_map import PlaceMap
from vla_navigation.core.slam.relocalisation import relocalise
from vla_navigation.core.slam.scan import LaserScan, sweep
from vla_navigation.core.slam.slam import Slam


def warm_up(params: SlamParameters) -> None:
    """Run everything that is compiled once, in a toy room of 4 m x 3 m."""
    turn = np.linspace(-np.pi, np.pi, 90, endpoint=False)
    with np.errstate(divide="ignore"):
        ranges = np.minimum(2.0 / np.abs(np.cos(turn)), 1.5 / np.abs(np.sin(turn))).astype(np.float32)
    scan = LaserScan(NS, turn, ranges, 0.0, 10.0, np.zeros(3))
    slam = Slam(params)
    slam.update(scan, np.zeros(3))
    slam.grid()
    place, seen = PlaceMap(params.resolution_m), sweep(scan, np.zeros(3))
    place.add_keyframe(seen, np.zeros(3))
    for _ in relocalise(place, seen, params):
        pass
