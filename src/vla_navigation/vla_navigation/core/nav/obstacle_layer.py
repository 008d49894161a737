"""What the lidar sees now and the map doesn't have: hits mark cells, rays that pass through clear them."""

from __future__ import annotations

import numba
import numpy as np

from vla_core.types import Bool, Float64
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.placed_scan import PlacedScan


class ObstacleLayer:
    """Marked cells, forgotten after a time in which nobody saw them.

    Args:
        frame: Of the map.
        range_m: Hits beyond are no obstacles yet, and rays clear only so far.
        memory_s: How long a mark stays that no ray confirms or clears.
    """

    def __init__(self, frame: GridFrame, range_m: float, memory_s: float) -> None:
        self.frame = frame
        self._range_m, self._memory_s = range_m, memory_s
        self._seen_s = np.full(frame.shape, -np.inf)  # when each cell was hit last
        self._now_s = 0.0

    def observe(self, scan: PlacedScan, goes_on: Bool, explained: Bool) -> None:
        """Clear along the rays, then mark the hits.

        Args:
            scan: The rays (N,).
            goes_on: (N,) rays that met something on the move: it won't be there any more.
            explained: (H,W) cells whose hits the map explains.
        """
        self._now_s = scan.stamp_ns * 1e-9
        frame = self.frame
        trace(
            self._seen_s, explained, frame.resolution_m, frame.x_m, frame.y_m, scan.pose, scan.angles_rad,
            scan.ranges_m, goes_on, scan.range_min_m, min(self._range_m, scan.range_max_m), self._now_s,
        )  # fmt: skip

    def clear(self) -> None:
        """Forget everything."""
        self._seen_s[:] = -np.inf

    def moved_to(self, frame: GridFrame) -> ObstacleLayer:
        """The same marks in another frame."""
        new = ObstacleLayer(frame, self._range_m, self._memory_s)
        new._now_s = self._now_s
        rows, columns = np.nonzero(np.isfinite(self._seen_s))
        cells = frame.cells(self.frame.points(np.stack([rows, columns], 1)))
        inside = frame.holds(cells)
        new._seen_s[tuple(cells[inside].T)] = self._seen_s[rows, columns][inside]
        return new

    def lethal(self, window: tuple[slice, slice]) -> Bool:
        """Marked cells within a window of the grid."""
        marked: Bool = self._seen_s[window] >= self._now_s - self._memory_s
        return marked


@numba.njit(cache=True)
def trace(
    seen_s: Float64, explained: Bool, resolution: float, x0: float, y0: float, pose: Float64, angles: Float64,
    ranges: Float64, goes_on: Bool, least: float, most: float, now_s: float,
) -> None:  # fmt: skip
    """Clear the cells that rays pass before their end, then mark the ends; see `ObstacleLayer.observe`.

    Cells are walked through as in Amanatides & Woo, "A fast voxel traversal algorithm", 1987.
    """
    rows, columns = seen_s.shape
    for marking in range(2):
        for k in range(angles.shape[0]):
            length = ranges[k]
            if not length >= least:  # NaN too
                continue
            hit = length <= most
            if marking and (not hit or goes_on[k]):
                continue
            angle = pose[2] + angles[k]
            dx, dy = np.cos(angle), np.sin(angle)
            x, y = (pose[0] - x0) / resolution, (pose[1] - y0) / resolution
            reach = min(length, most) / resolution
            end_c, end_r = int(np.floor(x + reach * dx)), int(np.floor(y + reach * dy))
            if marking:
                if 0 <= end_r < rows and 0 <= end_c < columns and not explained[end_r, end_c]:
                    seen_s[end_r, end_c] = now_s
                continue
            c, r = int(np.floor(x)), int(np.floor(y))
            step_c, step_r = (1 if dx > 0 else -1), (1 if dy > 0 else -1)
            per_c = 1.0 / abs(dx) if dx != 0.0 else np.inf
            per_r = 1.0 / abs(dy) if dy != 0.0 else np.inf
            next_c = ((c + 1 - x) if dx > 0 else (x - c)) * per_c if dx != 0.0 else np.inf
            next_r = ((r + 1 - y) if dy > 0 else (y - r)) * per_r if dy != 0.0 else np.inf
            while not (c == end_c and r == end_r) and min(next_c, next_r) <= reach:
                if 0 <= r < rows and 0 <= c < columns:
                    seen_s[r, c] = -np.inf
                if next_c < next_r:
                    c += step_c
                    next_c += per_c
                else:
                    r += step_r
                    next_r += per_r
