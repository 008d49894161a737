"""Places to look from: reachable, in sight of what is to be seen, and worth the way.

A view is scored by gain / (1 + d / v + turn / omega), the new area per second of driving and turning [m^2/s].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vla_core import se2
from vla_core.types import Bool, Float32, Float64, Int64
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.explore.visibility import polar_gain, sees, widest
from vla_navigation.core.nav.grid_frame import GridFrame

_RAYS = 72
_COARSE_M, _FINE_M = 0.3, 0.1
_FEW = 12  # of the coarse places, those nearest to the robot
_FURTHEST = 0.85  # of the camera's range: what is looked for shall be well in view


@dataclass(frozen=True, slots=True)
class ViewPose:
    """Where to look from.

    Attributes:
        pose: (3,) x, y, yaw of the robot.
        target: (2,) what it is meant to see [m].
        gain_m2: Area, weighted by the prior, that it shows at most.
        way_m: To it.
        score: gain / (1 + d / v + turn / omega) [m^2/s].
    """

    pose: Float64
    target: Float64
    gain_m2: float
    way_m: float
    score: float


class ViewPlanner:
    """Looks for views over one map; what a place shows is worked out once, whichever frontiers ask for it.

    Args:
        frame: Of all grids.
        opaque: bool (H,W), what nobody sees through.
        solid: bool (H,W), obstacles, at which a look ends: it runs over what nobody knows, as that may be open.
        normals: float32 (H,W,2) of their fronts, see SeenLayer.
        worth: float32 (H,W) of seeing each cell.
        way_m: float32 (H,W) of the robot to each cell; inf: not reachable.
        pose: (3,) of the robot.
        params: Camera, speeds.
    """

    def __init__(
        self, frame: GridFrame, opaque: Bool, solid: Bool, normals: Float32, worth: Float32, way_m: Float32,
        pose: Float64, params: ExplorerParameters,
    ) -> None:  # fmt: skip
        self._frame, self._opaque, self._way_m = frame, opaque, way_m
        self._shown_by = (worth, solid, normals, math.cos(params.surface_angle_rad))
        self._pose, self._params = pose, params
        res = frame.resolution_m
        self._range = (params.camera_near_m / res, params.camera_far_m / res)  # [cells]
        self._wide = max(1, round(params.camera_fov_rad / math.tau * _RAYS))
        self._gain = np.full(frame.shape, np.nan)  # [cells] of the best direction; nan: not worked out yet
        self._first = np.zeros(frame.shape, np.int64)  # its first ray

    def best(self, target: Float64) -> ViewPose | None:
        """The best view of a target (2,); None when no reachable place shows enough."""
        for lattice_m, most in ((_COARSE_M, _FEW), (_FINE_M, None)):
            cells = self._places(target, lattice_m)[:most]
            new = cells[np.isnan(self._gain[tuple(cells.T)])]
            widest(*self._shown_by, new, *self._range, self._wide, _RAYS, self._gain, self._first)
            gain_m2 = self._gain[tuple(cells.T)] * self._frame.resolution_m**2
            yaws = self._yaws(self._first[tuple(cells.T)])
            good = np.flatnonzero(gain_m2 >= self._params.min_gain_m2)
            if len(good):
                scores = gain_m2[good] / self._seconds(yaws[good], self._way_m[tuple(cells[good].T)])
                k = int(good[np.argmax(scores)])
                return self._view(cells[k], float(yaws[k]), target, float(gain_m2[k]))
        return None

    def at(self, cell: Int64, target: Float64, yaw: float) -> ViewPose:
        """The view from a cell (2,) in a direction."""
        rays = np.zeros(_RAYS)
        polar_gain(*self._shown_by, cell[0], cell[1], *self._range, rays)
        sums = np.convolve(np.concatenate([rays, rays[: self._wide - 1]]), np.ones(self._wide), "valid")
        k = int(np.argmin(np.abs(se2.wrap(self._yaws(np.arange(_RAYS)) - yaw))))
        return self._view(cell, yaw, target, float(sums[k]) * self._frame.resolution_m**2)

    def _yaws(self, first: Int64) -> Float64:
        """Directions (N,) of cones whose first rays are given [rad]."""
        yaws: Float64 = se2.wrap(-np.pi + math.tau * (first + 0.5 * (self._wide - 1)) / _RAYS)
        return yaws

    def facing(self, target: Float64, apart_from: Float64) -> list[ViewPose]:
        """Views of a point (2,), the best first: short ways, and directions unlike those it was looked at before.

        Args:
            apart_from: (N,) bearings [rad] from the point to where it was seen from.
        """
        views = []
        for cell in self._places(target, _COARSE_M):
            x, y = self._frame.points(cell[None])[0]
            back = np.arctan2(y - target[1], x - target[0])
            apart = float(np.abs(se2.wrap(apart_from - back)).min()) if len(apart_from) else np.pi
            gain_m2 = 0.1 + min(1.0, apart / (0.5 * np.pi))
            views.append(self._view(cell, float(se2.wrap(back + np.pi)), target, gain_m2))
        return sorted(views, key=lambda view: -view.score)

    def _view(self, cell: Int64, yaw: float, target: Float64, gain_m2: float) -> ViewPose:
        way_m = float(self._way_m[cell[0], cell[1]])
        pose = np.array([*self._frame.points(cell[None])[0], yaw])
        return ViewPose(pose, target, gain_m2, way_m, gain_m2 / float(self._seconds(yaw, way_m)))

    def _seconds(self, yaw: Float64 | float, way_m: Float32 | float) -> Float64:
        """What it takes to look in a direction at the end of a way [s]."""
        p = self._params
        seconds: Float64 = 1.0 + way_m / p.speed_m_s + np.abs(se2.wrap(yaw - self._pose[2])) / p.turn_rad_s
        return seconds

    def _places(self, target: Float64, lattice_m: float) -> Int64:
        """Reachable cells (N,2) of a lattice in sight of a target (2,), the nearest to the robot first."""
        frame, res = self._frame, self._frame.resolution_m
        row, column = frame.cell(*target)
        half, step = int(_FURTHEST * self._params.camera_far_m / res), max(1, round(lattice_m / res))
        rows, columns = (np.arange(-((half - k) // step) * step, k + half + 1, step) for k in (row, column))
        cells = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
        cells = cells[frame.holds(cells)]
        away = np.hypot(*(cells - [row, column]).T) * res
        ways = self._way_m[tuple(cells.T)]
        kept = (away <= _FURTHEST * self._params.camera_far_m) & np.isfinite(ways)
        cells, ways = cells[kept], ways[kept]
        cells = cells[np.argsort(ways, kind="stable")]
        in_sight = [sees(self._opaque, c + 0.5, r + 0.5, row, column) for r, c in cells.tolist()]
        places: Int64 = cells[np.array(in_sight, bool)]
        return places
