"""What a planar lidar passes under and the robot doesn't: table tops, shelves, open drawers, by points in space.

Voxels between the floor and the robot's top: points mark them, rays that pass through clear them, but for the last
piece above their end, where they only graze a surface. Near the robot a lidar on a mast looks over a table, so a mark
stays until it is looked through or its time is over.
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
            self._seen_s, explained, frame.resolution_m, frame.x_m, frame.y_m, origin, ends, self._height_m,
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
        kept = self._seen_s[layers, rows, columns][inside]
        new._seen_s[(layers[inside], *cells[inside].T)] = kept
        return new

    def lethal(self, window: tuple[slice, slice]) -> Bool:
        """Cells under or in a marked voxel, within a window of the grid."""
        marked: Bool = np.any(self._seen_s[:, window[0], window[1]] >= self._now_s - self._memory_s, axis=0)
        return marked


@numba.njit(cache=True)
def trace_points(
    seen_s: Float32, explained: Bool, resolution: float, x0: float, y0: float, origin: Float64, ends: Float64,
    height: float, near: float, far: float, now_s: float,
) -> None:  # fmt: skip
    """Clear the voxels that rays pass before their ends (N,3), then mark the ends; see `OverheadLayer.observe`.

    Rays are sampled every half cell: a voxel that only a corner is cut off from may stay.
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
                    seen_s[z, r, c] = now_s
                continue
            if dz >= 0.0 and origin[2] >= height:
                continue  # it never comes down to where the robot is
            step = 0.5 * resolution
            last = min(length - 1.5 * resolution, far)
            along = near
            while along < last:
                share = along / length
                z_m = origin[2] + share * dz
                grazes = abs(z_m - ends[k, 2]) < 1.5 * _LAYER_M
                if _FLOOR_M <= z_m < height and not grazes:
                    r = int(np.floor((origin[1] + share * dy - y0) / resolution))
                    c = int(np.floor((origin[0] + share * dx - x0) / resolution))
                    if 0 <= r < rows and 0 <= c < columns:
                        for beside in (-0.5, 0.5):  # a surface may lie on the border of two voxels
                            z = int(np.floor((z_m - _FLOOR_M) / _LAYER_M + beside))
                            if 0 <= z < layers:
                                seen_s[z, r, c] = -np.inf
                elif z_m < _FLOOR_M:
                    break
                along += step
