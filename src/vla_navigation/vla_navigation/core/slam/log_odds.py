"""The map as a sum over sweeps: each adds log-odds to the cells that it saw, and can be taken out again exactly.

A sweep counts once for each cell: as a hit where a ray ended, otherwise as a miss where a ray passed (Moravec, Elfes
1985; Thrun, Burgard, Fox 2005, "Probabilistic Robotics", chapter 9). Integers that aren't clamped make the sum
reversible, so a keyframe that the pose graph moves is drawn again without drawing all the others.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from vla_core import se2
from vla_core.errors import MapError
from vla_core.types import Float64, UInt8
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_navigation.core.slam.scan import Sweep

Int32 = NDArray[np.int32]
_HIT, _MISS, _UNITS = 17, -8, 20.0  # log-odds of 0.85 and -0.4, in twentieths
_FREE_WEIGHT = 3.0  # in percentages
_SURE = 70  # beyond this all is certain: 97 %
_GROWTH = 64  # cells added at least where the map grows
_LARGEST = 6000  # cells of a side


class LogOddsGrid:
    """Log-odds of obstacles, aligned with the map's axes; grows as needed.

    Args:
        resolution_m: Side of a cell [m].
    """

    def __init__(self, resolution_m: float) -> None:
        self._resolution_m = resolution_m
        self._corner: NDArray[np.int64] = np.zeros(2, np.int64)  # x, y in cells of the map's origin
        self._odds: Int32 = np.zeros((0, 0), np.int32)

    def add(self, sweep: Sweep, pose: Float64, sign: int = 1) -> None:
        """Draw a sweep at a pose (3,), map -> base; sign -1 takes it out again.

        Raises:
            MapError: the map would become too large.
        """
        origin = se2.transform(pose, sweep.origin[None]) / self._resolution_m
        ends = se2.transform(pose, sweep.ends) / self._resolution_m
        both = np.floor(np.concatenate([origin, ends])).astype(np.int64)
        low, high = both.min(axis=0), both.max(axis=0) + 1
        self._cover(low, high)
        window = low - self._corner
        size = high - low
        odds = self._odds[window[1] : window[1] + size[1], window[0] : window[0] + size[0]]
        draw(odds, origin[0] - low, ends - low, sweep.hit, sign)

    def grid(self) -> OccupancyGrid:
        """As percentages; -1 where nothing was seen."""
        origin = np.array([*(self._corner * self._resolution_m), 0.0])
        return OccupancyGrid(self._resolution_m, origin, percent(self._odds, _TABLE))

    def _cover(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> None:
        """Make room for cells from low to below high, x and y."""
        height, width = self._odds.shape
        before = np.array([width, height])
        if self._odds.size == 0:
            self._corner = low
        if np.all(low >= self._corner) and np.all(high <= self._corner + before):
            return
        corner = np.where(low < self._corner, low - _GROWTH, self._corner)
        end = np.where(high > self._corner + before, high + _GROWTH, self._corner + before)
        columns, rows = (int(side) for side in end - corner)
        if max(columns, rows) > _LARGEST:
            got = f"a map of {columns} x {rows} cells"
            raise MapError(got, f"at most {_LARGEST} a side", "use a coarser resolution, or find out why it is lost")
        odds = np.zeros((rows, columns), np.int32)
        at = self._corner - corner
        odds[at[1] : at[1] + height, at[0] : at[0] + width] = self._odds
        self._odds, self._corner = odds, corner


def _table() -> NDArray[np.int8]:
    """Percentage for log-odds from -_SURE to _SURE; none is unknown.

    Only keyframes are drawn, and a robot at rest has one: what it passed and never hit has to be free for users of the
    map (below 25 %), so what speaks for free counts `_FREE_WEIGHT` times.
    """
    odds = np.arange(-_SURE, _SURE + 1)
    weighted = np.where(odds < 0, _FREE_WEIGHT, 1.0) * odds / _UNITS
    chance = np.round(100.0 / (1.0 + np.exp(-weighted))).astype(np.int8)
    chance[_SURE] = -1
    return chance


_TABLE = _table()


@numba.njit(cache=True)
def percent(odds: Int32, table: NDArray[np.int8]) -> NDArray[np.int8]:
    """Look log-odds (H,W) up in a table for -_SURE.._SURE."""
    cells = np.empty(odds.shape, np.int8)
    for y in range(odds.shape[0]):
        for x in range(odds.shape[1]):
            cells[y, x] = table[min(max(odds[y, x], -_SURE), _SURE) + _SURE]
    return cells


@numba.njit(cache=True)
def draw(odds: Int32, origin: Float64, ends: Float64, hit: NDArray[np.bool_], sign: int) -> None:
    """Add a sweep to log-odds (H,W) that hold all of it; places are in cells from their corner, x and y."""
    seen = np.zeros(odds.shape, np.uint8)
    for i in range(ends.shape[0]):
        trace(seen, origin[0], origin[1], ends[i, 0], ends[i, 1])
    for i in range(ends.shape[0]):
        seen[int(ends[i, 1]), int(ends[i, 0])] = 2 if hit[i] else max(1, seen[int(ends[i, 1]), int(ends[i, 0])])
    for y in range(odds.shape[0]):
        for x in range(odds.shape[1]):
            if seen[y, x]:
                odds[y, x] += sign * (_HIT if seen[y, x] == 2 else _MISS)


@numba.njit(cache=True)
def trace(seen: UInt8, x0: float, y0: float, x1: float, y1: float) -> None:
    """Mark the cells that a straight line passes, but its last (Amanatides, Woo 1987, "A fast voxel traversal")."""
    x, y, last_x, last_y = int(x0), int(y0), int(x1), int(y1)
    dx, dy = x1 - x0, y1 - y0
    step_x, step_y = 1 if dx > 0 else -1, 1 if dy > 0 else -1
    per_x, per_y = 1.0 / max(abs(dx), 1e-12), 1.0 / max(abs(dy), 1e-12)
    next_x = ((x + 1 - x0) if dx > 0 else (x0 - x)) * per_x
    next_y = ((y + 1 - y0) if dy > 0 else (y0 - y)) * per_y
    for _ in range(abs(last_x - x) + abs(last_y - y)):
        seen[y, x] = 1
        if x != last_x and (y == last_y or next_x < next_y):
            x, next_x = x + step_x, next_x + per_x
        else:
            y, next_y = y + step_y, next_y + per_y
