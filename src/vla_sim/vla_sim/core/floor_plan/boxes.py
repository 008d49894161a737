"""Rays and distances among axis-aligned boxes (x0, y0, x1, y1) [m] and discs (x, y, radius) [m]."""

from __future__ import annotations

import numba
import numpy as np

from vla_core.types import Float64


@numba.njit(cache=True)
def cast(x: float, y: float, angles: Float64, boxes: Float64, discs: Float64, reach: float, ranges: Float64) -> None:
    """Fill ranges (N,) with the distance to the first box (B,4) or disc (D,3) along each angle (N,); inf: none."""
    for k in range(angles.shape[0]):
        dx, dy = np.cos(angles[k]), np.sin(angles[k])
        nearest = reach
        for b in range(boxes.shape[0]):
            enter, leave = 0.0, nearest
            for axis in range(2):
                origin, along = (x, dx) if axis == 0 else (y, dy)
                low, high = boxes[b, axis] - origin, boxes[b, axis + 2] - origin
                if abs(along) < 1e-12:
                    if low > 0.0 or high < 0.0:
                        leave = -1.0
                    continue
                one, two = low / along, high / along
                enter, leave = max(enter, min(one, two)), min(leave, max(one, two))
            if enter <= leave:
                nearest = min(nearest, enter)
        for d in range(discs.shape[0]):
            px, py = discs[d, 0] - x, discs[d, 1] - y
            along = px * dx + py * dy
            square = discs[d, 2] ** 2 - (px * px + py * py - along * along)
            if square > 0.0 and along + np.sqrt(square) > 0.0:
                nearest = min(nearest, max(0.0, along - np.sqrt(square)))
        ranges[k] = nearest if nearest < reach else np.inf


@numba.njit(cache=True)
def box_distance(x: float, y: float, boxes: Float64) -> float:
    """Distance of a point to the nearest box (B,4) [m]; 0 inside."""
    nearest = np.inf
    for b in range(boxes.shape[0]):
        dx = max(boxes[b, 0] - x, 0.0, x - boxes[b, 2])
        dy = max(boxes[b, 1] - y, 0.0, y - boxes[b, 3])
        nearest = min(nearest, dx * dx + dy * dy)
    return float(np.sqrt(nearest))
