"""What the camera has seen of the lidar's map: its view cone with occlusion and range, cell by cell."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vla_core.types import Bool, Float32, Float64
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.explore.visibility import look
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.occupancy_grid import FREE_BELOW, OCCUPIED_FROM, OccupancyGrid

_BODY_M = 0.25
_EIGHT = np.ones((3, 3), bool)
_AROUND, _PLAIN = 2, 2.0  # cells; a straight front has 6.5, a post between free cells nothing


class SeenLayer:
    """Marks over the map.

    Args:
        grid: First map. params: The camera.

    Attributes:
        frame: Of the map.
        free, occupied: bool (H,W), what the lidar's map says; a cell that is neither is unknown.
        normals: float32 (H,W,2), unit vectors that point from fronts of obstacles to the floor before them; zero where
            there is no front, or one that is open to opposite sides.
        seen: bool (H,W), free floor that was in the camera's view, and fronts of obstacles that were met frontally
            enough: what lies behind an edge, or in a shelf, isn't seen by a glance along it.
    """

    def __init__(self, grid: OccupancyGrid, params: ExplorerParameters) -> None:
        self._params = params
        self.frame = GridFrame.of(grid)
        self.seen: Bool = np.zeros(self.frame.shape, bool)
        self.set_map(grid)

    def set_map(self, grid: OccupancyGrid) -> None:
        """Take a new map, which may be larger or lie elsewhere; what was seen stays seen.

        Raises:
            MapError: as `GridFrame.of`.
        """
        frame = GridFrame.of(grid)
        if frame != self.frame:
            cells = frame.cells(self.frame.points(np.argwhere(self.seen)))
            self.seen = np.zeros(frame.shape, bool)
            self.seen[tuple(cells[frame.holds(cells)].T)] = True
            self.frame = frame
        self.occupied: Bool = grid.cells >= OCCUPIED_FROM
        self.free: Bool = (grid.cells >= 0) & (grid.cells < FREE_BELOW)
        self.normals = front_normals(self.occupied, self.free)

    @property
    def opaque(self) -> Bool:
        """What the camera isn't credited to see through: obstacles, and cells that nobody knows."""
        return ~self.free

    def observe(self, pose: Float64) -> int:
        """Mark what a camera at (3,) x, y, yaw sees; returns how many cells are new."""
        p, frame = self._params, self.frame
        res = frame.resolution_m
        x, y = (pose[0] - frame.x_m) / res, (pose[1] - frame.y_m) / res
        known = self.free | self.occupied
        return int(
            look(
                self.opaque, known, self.normals, np.cos(p.surface_angle_rad), x, y, pose[2], 0.5 * p.camera_fov_rad,
                p.camera_near_m / res, p.camera_far_m / res, self.seen,
            )
        )  # fmt: skip

    def stand(self, pose: Float64) -> None:
        """Mark the floor under a robot at (3,): where it stands nothing is hidden."""
        frame, res = self.frame, self.frame.resolution_m
        x, y = (pose[0] - frame.x_m) / res, (pose[1] - frame.y_m) / res
        look(self.opaque, self.free, self.normals, 0.0, x, y, 0.0, np.pi, 0.0, _BODY_M / res, self.seen)

    def unseen(self) -> Bool:
        """Cells (H,W) that may hide something: unseen floor, fronts of obstacles, and what the lidar doesn't know."""
        front = self.occupied & beside(self.free)
        wall = ndimage.binary_dilation(self.seen & self.occupied, _EIGHT)  # a surface wanders by a cell from map to map
        return np.asarray(~self.seen & (self.free | (front & ~wall) | ~(self.free | self.occupied)))

    def coverage(self) -> float:
        """Share of the known floor that was seen."""
        return float((self.seen & self.free).sum() / max(1, self.free.sum()))


def front_normals(occupied: Bool, free: Bool) -> Float32:
    """See SeenLayer: of an occupied cell beside free ones, the mean direction to the free cells around it."""
    reach = np.arange(-_AROUND, _AROUND + 1)
    to_row, to_column = np.meshgrid(reach, reach, indexing="ij")
    away = np.maximum(np.hypot(to_row, to_column), 1.0)
    open_ = free.astype(np.float32)
    columns, rows = (
        ndimage.correlate(open_, (to / away).astype(np.float32), mode="constant") for to in (to_column, to_row)
    )
    normals = np.stack([columns, rows], -1)
    length = np.linalg.norm(normals, axis=-1)
    plain = occupied & beside(free) & (length > _PLAIN)
    normals[plain] /= length[plain][:, None]
    normals[~plain] = 0.0
    return normals


def beside(cells: Bool) -> Bool:
    """Cells (H,W) that one of the four neighbours is of `cells`."""
    found = np.zeros_like(cells)
    found[1:] |= cells[:-1]
    found[:-1] |= cells[1:]
    found[:, 1:] |= cells[:, :-1]
    found[:, :-1] |= cells[:, 1:]
    return found
