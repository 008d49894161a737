"""A place from which somebody looks at a thing that no arm needs to reach: 'go to the window'."""

from __future__ import annotations

import numpy as np

from vla_core.types import Float64
from vla_navigation.core.skills.ports import Ground


def facing(point_m: Float64, ground: Ground, clearance_m: float, furthest_m: float) -> Float64 | None:
    """The nearest place to a point that the robot can get to and has room at, turned to the point.

    Args:
        point_m: float64 (2,) or (3,) map frame.
        ground: Of the robot.
        clearance_m: From the robot's centre to obstacles.
        furthest_m: From the point.

    Returns:
        float64 (3,) x, y, yaw; None: there is none.
    """
    free = np.argwhere((ground.distance_m >= clearance_m) & np.isfinite(ground.way_m))
    places = ground.frame.points(free)
    to = point_m[:2] - places
    away = np.hypot(*to.T)
    if not len(places) or away.min() > furthest_m:
        return None
    k = int(np.argmin(away))
    return np.array([*places[k], np.arctan2(to[k, 1], to[k, 0])])
