"""Where the robot may be: the map, what lidars see beside it, and the exact distance to the nearest of all that."""

from __future__ import annotations

import cv2
import numpy as np

from vla_core.types import Bool, Float32, Float64
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.obstacle_layer import ObstacleLayer
from vla_navigation.core.nav.overhead_layer import OverheadLayer, PlacedPoints
from vla_navigation.core.nav.placed_scan import PlacedScan
from vla_navigation.core.occupancy_grid import OCCUPIED_FROM, OccupancyGrid

_EXPLAINED_CELLS = 2  # a hit so near to an obstacle of the map is that obstacle, seen from a pose a little wrong
_SEEN_FROM_M = 2.5  # a lidar on a mast sees a table's edge from so far; from nearer it may look over it
_FAR_M = 1e3


class Costmap:
    """Static layer, obstacle layer, overhead layer where there is one, and distances.

    Args:
        grid: The map; see `set_map`.
        mark_range_m, memory_s: Of the obstacle layer.
        overhead: What a lidar in space sees; None: the robot has none.

    Attributes:
        frame: Of the map.
        unknown: bool (H,W), cells of which the map knows nothing.
        occupied: bool (H,W), cells that the map has for an obstacle.
    """

    def __init__(
        self, grid: OccupancyGrid, mark_range_m: float, memory_s: float, overhead: OverheadLayer | None = None
    ) -> None:
        self._overhead = overhead
        self._obstacles = ObstacleLayer(GridFrame.of(grid), mark_range_m, memory_s)
        self.set_map(grid)

    def set_map(self, grid: OccupancyGrid) -> None:
        """Take a new map; it may be larger, or lie elsewhere. What the lidar saw stays.

        Raises:
            MapError: as `GridFrame.of`.
        """
        frame, cells = GridFrame.of(grid), grid.cells
        if frame != self._obstacles.frame:
            self._obstacles = self._obstacles.moved_to(frame)
        if self._overhead is not None and frame != self._overhead.frame:
            self._overhead = self._overhead.moved_to(frame)
        self.frame = frame
        self.unknown: Bool = cells < 0
        self.occupied: Bool = cells >= OCCUPIED_FROM
        self._static_m = distances(self.occupied, frame.resolution_m)
        self._explained: Bool = self._static_m <= _EXPLAINED_CELLS * frame.resolution_m

    def observe(self, scan: PlacedScan, goes_on: Bool) -> None:
        """Take a scan into the obstacle layer; rays (N,) that met something on the move only clear."""
        self._obstacles.observe(scan, goes_on, self._explained)

    def observe_points(self, points: PlacedPoints) -> None:
        """Take a turn of a lidar in space into the overhead layer; nothing happens where there is none."""
        if self._overhead is not None:
            self._overhead.observe(points, self._explained)

    def overhead(self, window: tuple[slice, slice]) -> Float64:
        """Middles (N,2) of the cells in a window over which something is that the robot doesn't fit under [m]."""
        if self._overhead is None:
            return np.zeros((0, 2))
        corner = [window[0].start or 0, window[1].start or 0]
        return self.frame.points(np.argwhere(self._overhead.lethal(window)) + corner)

    def clear(self) -> None:
        """Forget what the planar lidar saw; the next scans tell it anew. What hangs over the floor stays."""
        self._obstacles.clear()

    def clear_far(self, x: float, y: float) -> None:
        """As `clear`, and forget what hangs over the floor so far from a point that it will be seen from there."""
        self._obstacles.clear()
        if self._overhead is not None:
            self._overhead.forget_beyond(x, y, _SEEN_FROM_M)

    def distance_m(self, window: tuple[slice, slice] | None = None) -> Float32:
        """Distance of each cell's centre to that of the nearest obstacle, float32 of the window's shape [m].

        Args:
            window: Part of the grid; obstacles of the map count wherever they are, those of lidars within it only.
                None: everything.
        """
        window = window or (slice(None), slice(None))
        lethal = self._obstacles.lethal(window)
        if self._overhead is not None:
            lethal = lethal | self._overhead.lethal(window)
        seen = distances(lethal, self.frame.resolution_m)
        nearest: Float32 = np.minimum(self._static_m[window], seen)
        return nearest

    def static_m(self) -> Float32:
        """As `distance_m`, with the map's obstacles only."""
        return self._static_m

    def window(self, x: float, y: float, half_m: float) -> tuple[slice, slice]:
        """The part of the grid within `half_m` of a point; empty if that lies far outside. inf: all of it."""
        if half_m == np.inf:
            return slice(0, self.frame.rows), slice(0, self.frame.columns)
        row, column = self.frame.cell(x, y)
        half = int(np.ceil(half_m / self.frame.resolution_m))
        sides = [
            (max(0, k - half), max(0, min(n, k + half + 1)))
            for k, n in zip((row, column), self.frame.shape, strict=True)
        ]
        return slice(*sides[0]), slice(*sides[1])


def distances(obstacles: Bool, resolution_m: float) -> Float32:
    """Exact Euclidean distance of each cell's centre to the nearest obstacle's, float32 (H,W) [m]; far if none.

    Felzenszwalb & Huttenlocher, "Distance transforms of sampled functions", 2012, as OpenCV has it.
    """
    if not obstacles.any():
        return np.full(obstacles.shape, _FAR_M, np.float32)
    cells = cv2.distanceTransform((~obstacles).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(cells * np.float32(resolution_m), np.float32)
