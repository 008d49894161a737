"""A way over cells becomes a path that a robot likes: short cuts, even spacing, rounded corners, yaw along it.

Short cuts are as good as any-angle planning (Daniel et al., "Theta*", 2010) where the way's cost is even; the rounding
is gradient descent on w_s |p[i-1] - 2 p[i] + p[i+1]|^2 + w_d |p[i] - p0[i]|^2, as Nav2's simple smoother does it, and
undone wherever it would bring a point nearer to an obstacle than the clearance.
"""

from __future__ import annotations

from itertools import pairwise

import numba
import numpy as np

from vla_core.types import Float32, Float64, Int64
from vla_navigation.core.nav.grid_frame import GridFrame

_SPACING_M = 0.1
_SMOOTH, _DATA, _TURNS = 0.3, 0.1, 60
_LOOK_AHEAD = 60  # cells that one short cut may skip


def smooth_path(cells: Int64, cost: Float32, frame: GridFrame, start: Float64, goal: Float64) -> Float64:
    """Path (N,3) x, y, yaw from `start` (2,) to `goal` (3,), all of whose points but the start have a finite cost.

    Args:
        cells: (M,2) the way; its ends are the cells of start and goal.
        cost: (H,W) per metre; inf: no way through.
    """
    for bends in (cells[shortcut(cells, cost)], cells):
        even = np.concatenate([start[None], _even(np.concatenate([frame.points(bends), goal[None, :2]]))])
        if np.isfinite(cost[tuple(frame.cells(even[1:]).T)]).all():  # rarely, a short cut grazes a corner
            break
    rounded = even.copy()
    round_corners(rounded, even, cost, frame.resolution_m, frame.x_m, frame.y_m)
    ahead = np.diff(rounded, axis=0)
    path = np.column_stack([rounded, np.append(np.arctan2(ahead[:, 1], ahead[:, 0]), goal[2])])
    return path


def path_length(path: Float64) -> float:
    """Length of a path (N,>=2) [m]."""
    return float(np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1).sum())


def _even(corners: Float64) -> Float64:
    """Points (N,2) about _SPACING_M apart along a polyline, its ends and corners among them."""
    parts = [corners[:1]]
    for a, b in pairwise(corners):
        count = int(np.ceil(np.linalg.norm(b - a) / _SPACING_M))
        parts.append(a + (b - a) * (np.arange(1, count + 1) / max(1, count))[:, None])
    return np.concatenate(parts)


@numba.njit(cache=True)
def shortcut(cells: Int64, cost: Float32) -> Int64:
    """Indices of the cells at which the way bends, when it goes straight wherever that is free and not dearer."""
    kept = [0]
    k, n = 0, cells.shape[0]
    while k < n - 1:
        j = min(n - 1, k + _LOOK_AHEAD)
        while j > k + 1 and straight_cost(cells, cost, k, j) > 1.001 * way_cost(cells, cost, k, j):
            j -= 1
        kept.append(j)
        k = j
    return np.array(kept)


@numba.njit(cache=True)
def way_cost(cells: Int64, cost: Float32, k: int, j: int) -> float:
    """Cost along the way from its cell k to its cell j."""
    total = 0.0
    for i in range(k, j):
        length = np.hypot(cells[i + 1, 0] - cells[i, 0], cells[i + 1, 1] - cells[i, 1])
        total += length * 0.5 * (cost[cells[i, 0], cells[i, 1]] + cost[cells[i + 1, 0], cells[i + 1, 1]])
    return total


@numba.njit(cache=True)
def straight_cost(cells: Int64, cost: Float32, k: int, j: int) -> float:
    """Cost of the straight line from cell k to cell j; inf where it touches a cell of infinite cost."""
    dr, dc = float(cells[j, 0] - cells[k, 0]), float(cells[j, 1] - cells[k, 1])
    length = np.hypot(dr, dc)
    count = int(np.ceil(4.0 * length))
    total = 0.0
    for i in range(count + 1):
        r, c = int(np.floor(cells[k, 0] + dr * i / count + 0.5)), int(np.floor(cells[k, 1] + dc * i / count + 0.5))
        total += cost[r, c] * length / (count + 1)
    return total


@numba.njit(cache=True)
def round_corners(points: Float64, data: Float64, cost: Float32, resolution: float, x0: float, y0: float) -> None:
    """Smooth points (N,2) in place; a point never moves into, or towards a dearer, cell than twice its own."""
    for _ in range(_TURNS):
        for i in range(1, points.shape[0] - 1):
            x = points[i, 0] + _SMOOTH * (points[i - 1, 0] + points[i + 1, 0] - 2.0 * points[i, 0])
            y = points[i, 1] + _SMOOTH * (points[i - 1, 1] + points[i + 1, 1] - 2.0 * points[i, 1])
            x += _DATA * (data[i, 0] - points[i, 0])
            y += _DATA * (data[i, 1] - points[i, 1])
            r, c = int(np.floor((y - y0) / resolution)), int(np.floor((x - x0) / resolution))
            if 0 <= r < cost.shape[0] and 0 <= c < cost.shape[1]:
                r0 = int(np.floor((data[i, 1] - y0) / resolution))
                c0 = int(np.floor((data[i, 0] - x0) / resolution))
                if cost[r, c] <= 2.0 * cost[r0, c0] and np.isfinite(cost[r, c]):
                    points[i, 0], points[i, 1] = x, y
