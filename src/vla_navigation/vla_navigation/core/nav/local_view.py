"""The costmap, or what of it lies around the robot, as Nav2 shows it.

100: obstacle, 99: too near to one, 98..1: dear, 0: free, -1: unknown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float64
from vla_navigation.core.nav.costmap import Costmap


def local_view(
    costmap: Costmap, pose: Float64, half_m: float, inscribed_m: float, inflation_m: float
) -> tuple[NDArray[np.int8], Float64]:
    """A window of the costmap.

    Args:
        pose: (3,) of the robot, map frame. half_m: Half the window's side; inf: all of it.
        inscribed_m: Nearer to an obstacle the robot can't be. inflation_m: As the planner's parameter.

    Returns:
        Cells int8 (H,W) and the pose (3,) of their outer corner; no cells for a robot far outside the map.
    """
    window = costmap.window(float(pose[0]), float(pose[1]), half_m)
    distance = costmap.distance_m(window)
    cost = np.rint(98.0 * np.exp(-3.0 / inflation_m * (distance - inscribed_m)))
    cells = np.clip(np.where(distance < inscribed_m, 99.0, cost), 0.0, 99.0)
    cells[distance < 0.5 * costmap.frame.resolution_m] = 100.0
    cells[costmap.unknown[window] & (distance >= inscribed_m)] = -1.0
    part = costmap.frame.part(window)
    return cells.astype(np.int8), np.array([part.x_m, part.y_m, 0.0])
