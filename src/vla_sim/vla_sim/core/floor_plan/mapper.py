"""A map from scans whose poses are known: the part of SLAM that worlds in the plane need, and no more.

Each ray votes: the cells it passes are free, the cell it ends in is occupied; log odds are bounded, so that what was
there and is gone fades (Moravec & Elfes, "High resolution maps from wide angle sonar", 1985).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float32, Float64

_HIT, _PASS, _LEAST, _MOST = 0.9, -0.4, -2.0, 3.5
_FREE, _OCCUPIED = -0.3, 0.5


class GridMapper:
    """Log odds over a rectangle.

    Args:
        x_m, y_m: Its lower left corner. rows, columns: Its size. resolution_m: Side of a cell.
        range_m: Rays are used up to here.
    """

    def __init__(
        self, x_m: float, y_m: float, rows: int, columns: int, resolution_m: float = 0.05, range_m: float = 6.0
    ) -> None:
        self.x_m, self.y_m, self.resolution_m = x_m, y_m, resolution_m
        self._range_m = range_m
        self._odds: Float32 = np.zeros((rows, columns), np.float32)

    def add(self, pose: Float64, angles: Float64, ranges: Float64) -> None:
        """Take a scan (N,) from (3,); NaN tells nothing, inf that the ray met nothing."""
        vote(self._odds, self.x_m, self.y_m, self.resolution_m, pose, angles, ranges, self._range_m)

    def cells(self) -> NDArray[np.int8]:
        """The map, int8 (H,W): 0 free, 100 occupied, -1 unknown."""
        cells = np.full(self._odds.shape, -1, np.int8)
        cells[self._odds < _FREE] = 0
        cells[self._odds > _OCCUPIED] = 100
        return cells


@numba.njit(cache=True)
def vote(
    odds: Float32, x0: float, y0: float, resolution: float, pose: Float64, angles: Float64, ranges: Float64, most: float
) -> None:
    """Add one scan to the log odds (H,W), in half-cell steps; a cell counts once per ray."""
    rows, columns = odds.shape
    for k in range(angles.shape[0]):
        if np.isnan(ranges[k]):
            continue
        cos, sin = np.cos(pose[2] + angles[k]), np.sin(pose[2] + angles[k])
        reach = min(ranges[k], most)
        end_r = int(np.floor((pose[1] + reach * sin - y0) / resolution))
        end_c = int(np.floor((pose[0] + reach * cos - x0) / resolution))
        last_r, last_c = -1, -1
        for i in range(int(2.0 * reach / resolution) + 1):
            along = 0.5 * i * resolution
            r = int(np.floor((pose[1] + along * sin - y0) / resolution))
            c = int(np.floor((pose[0] + along * cos - x0) / resolution))
            if (r == last_r and c == last_c) or (r == end_r and c == end_c):
                continue
            last_r, last_c = r, c
            if 0 <= r < rows and 0 <= c < columns:
                odds[r, c] = max(_LEAST, odds[r, c] + _PASS)
        if ranges[k] <= most and 0 <= end_r < rows and 0 <= end_c < columns:
            odds[end_r, end_c] = min(_MOST, odds[end_r, end_c] + _HIT)
