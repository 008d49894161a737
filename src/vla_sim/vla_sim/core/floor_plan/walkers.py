"""People who walk from place to place, and don't walk into a robot that they see before them."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float64

Cell = tuple[int, int]

RADIUS_M, SPEED_M_S = 0.22, (0.4, 0.9)
_CELL_M = 0.2
_YIELD_M = 0.3  # gap at which a person stops for what stands in the way
_PATIENCE_S = 2.0  # and then goes elsewhere
_APART_M = 1.2  # from the robot, at the beginning


class Walker:
    """One person.

    Args:
        rng: Draws speed and goals.
        away_m: (rows, columns) distance of each cell of a flat to walls and furniture [m].
        cell_m: Side of those cells.
        robot: (2,) where nobody begins.
    """

    def __init__(self, rng: np.random.Generator, away_m: Float64, cell_m: float, robot: Float64) -> None:
        self._rng, self._step = rng, max(1, round(_CELL_M / cell_m))
        self._cell_m = self._step * cell_m
        self._free: NDArray[np.bool_] = away_m[:: self._step, :: self._step] > RADIUS_M + 0.05
        self._speed = float(rng.uniform(*SPEED_M_S))
        self._places: list[Cell] = [(int(r), int(c)) for r, c in np.argwhere(self._free)]
        apart = [cell for cell in self._places if np.hypot(*(self._centre(cell) - robot)) > _APART_M]
        self._cell = apart[rng.integers(len(apart))]
        self._way: deque[Cell] = deque()
        self._waited_s = 0.0
        self.position: Float64 = self._centre(self._cell)

    def advance(self, dt: float, robot: Float64, robot_radius_m: float) -> None:
        """Walk on for `dt` seconds, but not into a robot at (2,) that stands close."""
        if not self._way:
            self._way = deque(self._find_way())
            if not self._way:
                return
        target = self._centre(self._way[0])
        ahead = target - self.position
        left = float(np.hypot(*ahead))
        arrives = left <= self._speed * dt
        place = target if arrives else self.position + ahead * (self._speed * dt / left)
        now, then = (float(np.hypot(*(robot[:2] - p))) - robot_radius_m - RADIUS_M for p in (self.position, place))
        if then < _YIELD_M and then < now:
            self._waited_s += dt
            if self._waited_s > _PATIENCE_S:
                self._waited_s, self._way = 0.0, deque(self._find_way())
            return
        self.position = place
        if arrives:
            self._cell = self._way.popleft()

    def _centre(self, cell: Cell) -> Float64:
        """The point (2,) that a coarse cell stands for: the centre of its first fine cell."""
        fine = self._cell_m / self._step
        return np.array([cell[1] * self._cell_m + 0.5 * fine, cell[0] * self._cell_m + 0.5 * fine])

    def _find_way(self) -> list[Cell]:
        """Cells to another place, breadth first; empty when it can't be reached."""
        goal = self._places[self._rng.integers(len(self._places))]
        came: dict[Cell, Cell] = {self._cell: self._cell}
        todo = deque([self._cell])
        while todo and goal not in came:
            r, c = todo.popleft()
            for cell in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
                inside = 0 <= cell[0] < self._free.shape[0] and 0 <= cell[1] < self._free.shape[1]
                if inside and self._free[cell] and cell not in came:
                    came[cell] = (r, c)
                    todo.append(cell)
        way, cell = [], goal
        while cell in came and cell != self._cell:
            way.append(cell)
            cell = came[cell]
        return way[::-1]
