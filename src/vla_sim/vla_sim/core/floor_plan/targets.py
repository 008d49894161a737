"""Things to be found that only a camera can see: flat, on the floor or on furniture near its edge."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vla_core.types import Float64
from vla_sim.core.floor_plan.boxes import cast
from vla_sim.core.floor_plan.generate import CLEAR_M, FloorPlan, occupied

_CELL_M = 0.05
_ON_M, _BEFORE_M = 0.1, 0.45  # from the edge of furniture: the thing, and a place before it that must be free
_FLOOR_SHARE = 0.3
_OWN_M = 0.15  # what a thing lies on hides it no further than this; less than a thing and a wall behind it are thick
_TRIES = 1000


def place_targets(plan: FloorPlan, count: int, seed: int) -> Float64:
    """Points (count,2) [m] that a robot can look at: before each there is floor that it can stand on."""
    rng = np.random.default_rng([seed, 3])
    away = ndimage.distance_transform_edt(~occupied(plan.boxes, plan.size_m, _CELL_M)) * _CELL_M

    def free(point: Float64) -> bool:
        row, column = (int(point[k] / _CELL_M) for k in (1, 0))
        inside = 0 <= row < away.shape[0] and 0 <= column < away.shape[1]
        return inside and bool(away[row, column] > CLEAR_M + _CELL_M)

    found: list[Float64] = []
    for _ in range(_TRIES):
        if len(found) == count:
            break
        if rng.random() < _FLOOR_SHARE or not len(plan.furniture):
            point = rng.uniform([0.0, 0.0], plan.size_m)
            if free(point):
                found.append(point)
            continue
        x0, y0, x1, y1 = plan.furniture[rng.integers(len(plan.furniture))]
        x, y, side = rng.uniform(x0, x1), rng.uniform(y0, y1), int(rng.integers(4))
        edge = np.array([(x0, y), (x1, y), (x, y0), (x, y1)][side])
        outwards = np.array([(-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0)][side])
        before, point = edge + _BEFORE_M * outwards, edge - _ON_M * outwards
        camera = np.array([*before, np.arctan2(-outwards[1], -outwards[0])])
        # other furniture may stand over the edge
        if free(before) and in_view(camera, point, plan.boxes, np.zeros((0, 3)), 0.0, 1.0, 0.1):
            found.append(point)
    assert len(found) == count, "every flat has floor"
    return np.array(found)


def in_view(
    camera: Float64, target: Float64, boxes: Float64, discs: Float64, near_m: float, far_m: float, fov_rad: float
) -> bool:
    """Whether a camera at (3,) sees a point (2,) among boxes (B,4) and discs (D,3)."""
    x, y = target - camera[:2]
    away, bearing = float(np.hypot(x, y)), float(np.arctan2(y, x))
    off = abs((bearing - camera[2] + np.pi) % (2 * np.pi) - np.pi)
    if not near_m <= away <= far_m or off > 0.5 * fov_rad:
        return False
    free = np.empty(1)
    cast(camera[0], camera[1], np.array([bearing]), boxes, discs, far_m + 1.0, free)
    return bool(free[0] >= away - _OWN_M)
