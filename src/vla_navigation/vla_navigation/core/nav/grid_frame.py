"""Where a grid lies: row r, column c is the square whose centre is origin + resolution * (c + 1/2, r + 1/2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.errors import MapError
from vla_core.types import Bool, Float64, Int64
from vla_navigation.core.occupancy_grid import OccupancyGrid


@dataclass(frozen=True, slots=True)
class GridFrame:
    """Frame of arrays (rows, columns): rows along y, columns along x, as in nav_msgs/OccupancyGrid.

    Attributes:
        resolution_m: Side of a cell, > 0.
        x_m, y_m: Lower left corner of cell (0, 0), map frame.
        rows, columns: Size, >= 1.
    """

    resolution_m: float
    x_m: float
    y_m: float
    rows: int
    columns: int

    @classmethod
    def of(cls, grid: OccupancyGrid) -> GridFrame:
        """Where a map lies.

        Raises:
            MapError: it is turned against the map frame.
        """
        x, y, yaw = grid.origin
        if yaw != 0.0:
            raise MapError(f"a map turned by {yaw:.3f} rad", "yaw 0 of its origin", "save it without a turn")
        return cls(grid.resolution_m, float(x), float(y), *grid.cells.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.rows, self.columns

    def cells(self, points: Float64) -> Int64:
        """Row and column (N,2) of points (N,2) [m]; they may lie outside."""
        scaled = (points - [self.x_m, self.y_m]) / self.resolution_m
        return np.floor(scaled).astype(np.int64)[:, ::-1]

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of one point [m]; it may lie outside."""
        row, column = self.cells(np.array([[x, y]]))[0]
        return int(row), int(column)

    def points(self, cells: Int64) -> Float64:
        """Centres (N,2) [m] of cells (N,2)."""
        corner = np.array([self.x_m, self.y_m])
        places: Float64 = corner + self.resolution_m * (np.asarray(cells)[:, ::-1] + 0.5)
        return places

    def holds(self, cells: Int64) -> Bool:
        """Which of the cells (N,2) lie inside, bool (N,)."""
        inside: Bool = np.all((cells >= 0) & (cells < self.shape), axis=1)
        return inside

    def part(self, window: tuple[slice, slice]) -> GridFrame:
        """The frame of a window of the grid, whose slices have a start and a stop."""
        rows, columns = window
        x, y = self.x_m + self.resolution_m * columns.start, self.y_m + self.resolution_m * rows.start
        return GridFrame(self.resolution_m, x, y, rows.stop - rows.start, columns.stop - columns.start)
