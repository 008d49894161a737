"""What a planar lidar passes under and the robot doesn't: table tops, shelves, open drawers, by points in space.

Voxels between the floor and the robot's top: points mark them, and a ray clears a mark only by going through the height
of its point within its cell: one that passes over a table or dives in under its edge says nothing about the top. Near
the robot a lidar on a mast looks over a table, so a mark stays until it is looked through or its time is over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from vla_core.types import NS, Bool, Float32, Float64
from vla_navigation.core.nav.grid_frame import GridFrame

_LAYER_M = 0.04
_FLOOR_M = 0.12  # below is floor, thresholds and carpets; the planar lidar sees what stands there
_OWN_M = 0.1  # beyond the footprint's outline: the robot's own arm, or noise
_LEVEL, _SAME_M = 0.03, 0.005  # a ray of less slope goes through a mark when it is as near as this to its height


@dataclass(frozen=True, slots=True)
class PlacedPoints:
    """One turn of a lidar in space, and where it was taken from.

    Attributes:
        stamp_ns: Capture time [ns, ROS clock].
        origin_m: (3,) of the lidar in the map at that time, z over the floor.
        points_m: (N,3) where its rays ended, map frame.
    """

    stamp_ns: int
    origin_m: Float64
    points_m: Float64


class OverheadLayer:
    """Marked voxels.

    Args:
        frame: Of the map.
        height_m: The robot fits below what is higher.
        radius_m: Of the robot: points nearer to the lidar are itself.
        range_m: Points beyond are no obstacles yet, and rays clear only so far.
        memory_s: How long a mark stays that no ray confirms or clears.
    """

    def __init__(self, frame: GridFrame, height_m: float, radius_m: float, range_m: float, memory_s: float) -> None:
        self.frame = frame
        self._height_m, self._radius_m, self._range_m, self._memory_s = height_m, radius_m, range_m, memory_s
        layers = max(1, int(np.ceil((height_m - _FLOOR_M) / _LAYER_M)))
        #: when each voxel was hit last [s since `_begin_ns`]
        self._seen_s = np.full((layers, *frame.shape), -np.inf, np.float32)
        self._at_m = np.zeros((layers, *frame.shape), np.float32)  # height of that hit
        self._begin_ns, self._now_s = -1, 0.0

    def observe(self, points: PlacedPoints, explained: Bool) -> None:
        """Clear along the rays, then mark their ends; cells (H,W) whose hits the map explains aren't marked."""
        if self._begin_ns < 0:
            self._begin_ns = points.stamp_ns
        self._now_s = (points.stamp_ns - self._begin_ns) / NS
        frame, origin, ends = self.frame, points.origin_m, points.points_m
        away = np.hypot(ends[:, 0] - origin[0], ends[:, 1] - origin[1])
        ends = ends[np.isfinite(ends).all(1) & (away > self._radius_m + _OWN_M)]
        trace_points(
            self._seen_s, self._at_m, explained, frame.resolution_m, frame.x_m, frame.y_m, origin, ends, self._height_m,
            self._radius_m, self._range_m, self._now_s,
        )  # fmt: skip

    def forget_beyond(self, x: float, y: float, radius_m: float) -> None:
        """Forget what is farther from a point than that; nearer, the lidar might not see it again."""
        layers, rows, columns = np.nonzero(np.isfinite(self._seen_s))
        far = np.hypot(*(self.frame.points(np.stack([rows, columns], 1)) - [x, y]).T) > radius_m
        self._seen_s[layers[far], rows[far], columns[far]] = -np.inf

    def moved_to(self, frame: GridFrame) -> OverheadLayer:
        """The same marks in another frame."""
        new = OverheadLayer(frame, self._height_m, self._radius_m, self._range_m, self._memory_s)
        new._begin_ns, new._now_s = self._begin_ns, self._now_s
        layers, rows, columns = np.nonzero(np.isfinite(self._seen_s))
        cells = frame.cells(self.frame.points(np.stack([rows, columns], 1)))
        inside = frame.holds(cells)
        for ours, theirs in ((self._seen_s, new._seen_s), (self._at_m, new._at_m)):
            theirs[(layers[inside], *cells[inside].T)] = ours[layers, rows, columns][inside]
        return new

    def lethal(self, window: tuple[slice, slice]) -> Bool:
        """Cells under or in a marked voxel, within a window of the grid."""
        marked: Bool = np.any(self._seen_s[:, window[0], window[1]] >= self._now_s - self._memory_s, axis=0)
        return marked


@numba.njit(cache=True)
def trace_points(
    seen_s: Float32, at_m: Float32, explained: Bool, resolution: float, x0: float, y0: float, origin: Float64,
    ends: Float64, height: float, near: float, far: float, now_s: float,
) -> None:  # fmt: skip
    """Clear the voxels whose marks rays go through before their ends (N,3), then mark the ends; see `OverheadLayer`.

    Rays are sampled every half cell: a mark that only a corner is cut off from may stay.
    """
    layers, rows, columns = seen_s.shape
    for marking in range(2):
        for k in range(ends.shape[0]):
            dx, dy, dz = ends[k, 0] - origin[0], ends[k, 1] - origin[1], ends[k, 2] - origin[2]
            length = np.hypot(dx, dy)
            if marking:
                z = int(np.floor((ends[k, 2] - _FLOOR_M) / _LAYER_M))
                if length > far or ends[k, 2] < _FLOOR_M or ends[k, 2] >= height or z >= layers:
                    continue
                r, c = int(np.floor((ends[k, 1] - y0) / resolution)), int(np.floor((ends[k, 0] - x0) / resolution))
                if 0 <= r < rows and 0 <= c < columns and not explained[r, c]:
                    seen_s[z, r, c], at_m[z, r, c] = now_s, ends[k, 2]
                continue
            if dz >= 0.0 and origin[2] >= height:
                continue  # it never comes down to where the robot is
            step = 0.5 * resolution
            slope = dz / max(length, step)
            last = min(length - 1.5 * resolution, far)
            along = near
            while along < last:
                z_m = origin[2] + slope * along
                if z_m < _FLOOR_M - step and slope < 0.0:
                    break
                r = int(np.floor((origin[1] + along / length * dy - y0) / resolution))
                c = int(np.floor((origin[0] + along / length * dx - x0) / resolution))
                low, high = z_m - abs(slope) * resolution - _SAME_M, z_m + abs(slope) * resolution + _SAME_M
                if 0 <= r < rows and 0 <= c < columns and low < height and high >= _FLOOR_M:
                    lowest = max(0, int(np.floor((low - _FLOOR_M) / _LAYER_M)))
                    highest = min(layers - 1, int(np.floor((high - _FLOOR_M) / _LAYER_M)))
                    for z in range(lowest, highest + 1):
                        if seen_s[z, r, c] == -np.inf:
                            continue
                        apart = at_m[z, r, c] - z_m
                        through = abs(slope) < _LEVEL and abs(apart) <= _SAME_M
                        if not through and slope != 0.0:  # where the ray is at the mark's height: in this cell?
                            there = along + apart / slope
                            at_r = np.floor((origin[1] + there / length * dy - y0) / resolution)
                            at_c = np.floor((origin[0] + there / length * dx - x0) / resolution)
                            through = at_r == r and at_c == c and near <= there < last
                        if through:
                            seen_s[z, r, c] = -np.inf
                along += step
