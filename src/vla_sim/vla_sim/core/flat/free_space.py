"""Where a round robot can go on a floor: a grid of what stands there, distances to it, and what hangs together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vla_core.types import Float64
from vla_sim.core.flat.floor import Floor, Rect

CELL_M = 0.05
ROBOT_M, MARGIN_M = 0.22, 0.05  # radius of the robot, and what passages leave beside it


class FreeSpace:
    """Grid of a floor; cells are squares of CELL_M, row = y, column = x. A robot goes where it keeps MARGIN_M.

    Args:
        floor: Rooms and walls.
    """

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self._shape = (int(np.ceil(floor.outline.y1 / CELL_M)), int(np.ceil(floor.outline.x1 / CELL_M)))
        y, x = np.indices(self._shape)
        self._x, self._y = (x + 0.5) * CELL_M, (y + 0.5) * CELL_M
        self._taken = self.mask(floor.walls, ())
        self._rooms = [self.mask([room.rect], ()) for room in floor.rooms]

    def mask(self, rects: Iterable[Rect], circles: Iterable[tuple[float, float, float]]) -> NDArray[np.bool_]:
        """Cells that rectangles or circles (x, y, radius) touch, bool (rows, columns)."""
        touched = np.zeros(self._shape, bool)
        for r in rects:
            x0, y0 = max(int(r.x0 / CELL_M), 0), max(int(r.y0 / CELL_M), 0)
            touched[y0 : int(np.ceil(r.y1 / CELL_M)), x0 : int(np.ceil(r.x1 / CELL_M))] = True
        for x, y, radius in circles:
            touched |= np.hypot(self._x - x, self._y - y) < radius + CELL_M / 2
        return touched

    def take(self, rects: Iterable[Rect], circles: Iterable[tuple[float, float, float]] = ()) -> None:
        """From now on these stand there."""
        self._taken |= self.mask(rects, circles)

    def clearance(self, extra: NDArray[np.bool_] | None = None) -> Float64:
        """Distance of every cell's centre to what stands there, or also on `extra` [m], float64 (rows, columns).

        It is a lower bound: a cell counts as taken as a whole.
        """
        taken = self._taken if extra is None else self._taken | extra
        padded = np.pad(taken, 1, constant_values=True)
        distances = ndimage.distance_transform_edt(~padded, sampling=CELL_M)[1:-1, 1:-1]
        least: Float64 = np.maximum(distances - 0.5 * CELL_M, 0.0)
        return least

    def reached(self, extra: NDArray[np.bool_] | None = None) -> NDArray[np.bool_] | None:
        """Cells that the robot's centre gets to from every room, bool (rows, columns).

        Args:
            extra: What else stands there, as from `mask`.

        Returns:
            None where some room, or some door, is cut off from the others.
        """
        free = self.clearance(extra) > ROBOT_M + MARGIN_M
        labels, _ = ndimage.label(free)
        places = [self.cell(door.x, door.y) for door in self.floor.doors]
        found = {int(labels[place]) for place in places}
        if len(found) != 1 or 0 in found:
            return None
        whole: NDArray[np.bool_] = labels == found.pop()
        if any(np.count_nonzero(whole & room) * CELL_M**2 < _least(room) for room in self._rooms):
            return None
        return whole

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of a point of the floor."""
        rows, columns = self._shape
        return min(max(int(y / CELL_M), 0), rows - 1), min(max(int(x / CELL_M), 0), columns - 1)

    def centres(self, cells: NDArray[np.bool_]) -> Float64:
        """Centres (N,2) [m] of chosen cells."""
        return np.stack([self._x[cells], self._y[cells]], axis=1)


def _least(room: NDArray[np.bool_]) -> float:
    """Area of a room that must be reached [m^2]."""
    return 0.12 * float(np.count_nonzero(room)) * CELL_M**2
