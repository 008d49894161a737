"""The walls around the robot as scan matching wants them: from any place to the line of the nearest wall in one look.

Points of several keyframes fall into cells of 5 cm. Each cell's line goes through the mean of the points around it,
along their first principal axis; cells in corners and clutter, where the second axis is not much shorter, have none.
Only points seen from the same side count, so that the two faces of a thin wall stay two lines.
A field tells for every cell within reach which occupied cell is nearest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float64

Int32 = NDArray[np.int32]
CELL_M = 0.05
REACH = 6  # cells: how far from a wall a point may be to be matched with it
_WINDOWS = (3, 2, 1, 6)  # cells around a cell whose points make its line: the first that has enough and is flat
_ENOUGH = 6  # points of a line
_FLAT = 0.15  # largest variance across a line, of that along it
_THICK_M = 0.015  # standard deviation of points across their line, at most


@dataclass(frozen=True, slots=True)
class Submap:
    """Lines of walls in the frame of one keyframe.

    Attributes:
        corner: float64 (2,) where the field begins [m].
        nearest: int32 (H,W) index of the nearest occupied cell, -1 beyond reach.
        centre: float64 (K,2) mean of each occupied cell's own points [m].
        anchor: float64 (K,2) a point of its line [m].
        normal: float64 (K,2) unit vector across the line; zero: no line.
        view: float64 (K,2) about where the cell was seen from: mean of unit vectors from its points to the sensor.
    """

    corner: Float64
    nearest: Int32
    centre: Float64
    anchor: Float64
    normal: Float64
    view: Float64

    @classmethod
    def of(cls, points: Float64, views: Float64) -> Submap:
        """From points (P,2) [m], P > 0, and unit vectors (P,2) from each to the sensor that saw it."""
        margin = (REACH + 1) * CELL_M
        corner = points.min(axis=0) - margin
        width, height = (np.ceil((points.max(axis=0) + margin - corner) / CELL_M).astype(np.int64) + 1).tolist()
        nearest = np.full((height, width), -1, np.int32)
        return cls(corner, nearest, *build(points, views, corner, nearest))


@numba.njit(cache=True)
def build(
    points: Float64, views: Float64, corner: Float64, nearest: Int32
) -> tuple[Float64, Float64, Float64, Float64]:
    """Fill `nearest` (H,W), given as -1; centres, anchors, normals and views (K,2) of the occupied cells."""
    height, width = nearest.shape
    moments, cells = np.zeros((points.shape[0], 6)), np.empty((points.shape[0], 2), np.int32)
    seen = np.zeros((points.shape[0], 2))
    count = 0
    for i in range(points.shape[0]):
        x, y = points[i, 0] - corner[0], points[i, 1] - corner[1]
        cx, cy = int(x / CELL_M), int(y / CELL_M)
        k = nearest[cy, cx]
        if k < 0:
            k = count
            nearest[cy, cx], cells[k, 0], cells[k, 1] = k, cx, cy
            count += 1
        moments[k] += np.array([1.0, x, y, x * x, x * y, y * y])
        seen[k] += views[i]
    centre, anchor, normal = np.empty((count, 2)), np.zeros((count, 2)), np.zeros((count, 2))
    for k in range(count):
        centre[k] = moments[k, 1:3] / moments[k, 0] + corner
        for window in _WINDOWS:
            total = np.zeros(6)
            for cy in range(max(0, cells[k, 1] - window), min(height, cells[k, 1] + window + 1)):
                for cx in range(max(0, cells[k, 0] - window), min(width, cells[k, 0] + window + 1)):
                    j = nearest[cy, cx]
                    if j >= 0 and seen[k, 0] * seen[j, 0] + seen[k, 1] * seen[j, 1] > 0.0:
                        for m in range(6):
                            total[m] += moments[j, m]
            if total[0] < _ENOUGH:
                continue
            mx, my = total[1] / total[0], total[2] / total[0]
            xx, xy, yy = total[3] / total[0] - mx * mx, total[4] / total[0] - mx * my, total[5] / total[0] - my * my
            middle, half = 0.5 * (xx + yy), np.sqrt(0.25 * (xx - yy) ** 2 + xy * xy)
            if middle - half < min(_FLAT * (middle + half), _THICK_M * _THICK_M):
                along = 0.5 * np.arctan2(2.0 * xy, xx - yy)
                normal[k, 0], normal[k, 1] = -np.sin(along), np.cos(along)
                anchor[k, 0], anchor[k, 1] = mx + corner[0], my + corner[1]
                break
        seen[k] /= moments[k, 0]
    _spread(nearest, cells[:count], centre, corner)
    return centre, anchor, normal, seen[:count]


@numba.njit(cache=True)
def _spread(nearest: Int32, cells: Int32, centre: Float64, corner: Float64) -> None:
    """Give every cell within reach of an occupied one the nearest of them."""
    height, width = nearest.shape
    squared = np.full((height, width), np.inf, np.float32)
    for k in range(cells.shape[0]):
        x, y = (centre[k, 0] - corner[0]) / CELL_M - 0.5, (centre[k, 1] - corner[1]) / CELL_M - 0.5
        for cy in range(max(0, cells[k, 1] - REACH), min(height, cells[k, 1] + REACH + 1)):
            for cx in range(max(0, cells[k, 0] - REACH), min(width, cells[k, 0] + REACH + 1)):
                away = (cx - x) ** 2 + (cy - y) ** 2
                if away < squared[cy, cx]:
                    squared[cy, cx], nearest[cy, cx] = away, k
