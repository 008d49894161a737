"""Places to look from: reachable, in sight of what is to be seen, and worth the way.

A view is scored by gain / (1 + d / v + turn / omega), the new area per second of driving and turning [m^2/s].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core import se2
from vla_core.types import Float32, Float64
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.explore.visibility import polar_gain, sees
from vla_navigation.core.nav.grid_frame import Bool, GridFrame, Int64

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
    """Looks for views over one map.

    Args:
        frame: Of all grids.
        opaque: bool (H,W), what nobody sees through.
        worth: float32 (H,W) of seeing each cell.
        way_m: float32 (H,W) of the robot to each cell; inf: not reachable.
        pose: (3,) of the robot.
        params: Camera, speeds.
    """

    def __init__(
        self, frame: GridFrame, opaque: Bool, worth: Float32, way_m: Float32, pose: Float64, params: ExplorerParameters
    ) -> None:
        self._frame, self._opaque, self._worth, self._way_m = frame, opaque, worth, way_m
        self._pose, self._params = pose, params
        # rays run over what nobody knows: it may be open
        self._gain = np.zeros(_RAYS)

    def best(self, target: Float64, solid: Bool) -> ViewPose | None:
        """The best view of a target (2,); None when no reachable place shows enough.

        Args:
            solid: bool (H,W), obstacles, at which a look ends.
        """
        for lattice_m, most in ((_COARSE_M, _FEW), (_FINE_M, None)):
            views = [self.at(cell, target, solid) for cell in self._places(target, lattice_m)[:most]]
            good = [view for view in views if view.gain_m2 >= self._params.min_gain_m2]
            if good:
                return max(good, key=lambda view: view.score)
        return None

    def at(self, cell: Int64, target: Float64, solid: Bool, yaw: float | None = None) -> ViewPose:
        """The view from a cell (2,), in the direction that shows most, or in a given one."""
        p, res = self._params, self._frame.resolution_m
        polar_gain(self._worth, solid, cell[0], cell[1], p.camera_near_m / res, p.camera_far_m / res, self._gain)
        wide = max(1, round(p.camera_fov_rad / (2 * np.pi) * _RAYS))
        sums = np.convolve(np.concatenate([self._gain, self._gain[: wide - 1]]), np.ones(wide), "valid") * res * res
        middle = -np.pi + 2 * np.pi * (np.arange(_RAYS) + 0.5 * (wide - 1)) / _RAYS
        k = int(np.argmax(sums)) if yaw is None else int(np.argmin(np.abs(se2.wrap(middle - yaw))))
        x, y = self._frame.points(cell[None])[0]
        pose = np.array([x, y, float(se2.wrap(middle[k])) if yaw is None else yaw])
        return self._view(pose, target, float(sums[k]), cell)

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
            pose = np.array([x, y, float(se2.wrap(back + np.pi))])
            views.append(self._view(pose, target, 0.1 + min(1.0, apart / (0.5 * np.pi)), cell))
        return sorted(views, key=lambda view: -view.score)

    def _view(self, pose: Float64, target: Float64, gain_m2: float, cell: Int64) -> ViewPose:
        p, way_m = self._params, float(self._way_m[cell[0], cell[1]])
        turn = abs(float(se2.wrap(pose[2] - self._pose[2])))
        seconds = 1.0 + way_m / p.speed_m_s + turn / p.turn_rad_s
        return ViewPose(pose, target, gain_m2, way_m, gain_m2 / seconds)

    def _places(self, target: Float64, lattice_m: float) -> Int64:
        """Reachable cells (N,2) of a lattice in sight of a target (2,), the nearest to the robot first."""
        frame, res = self._frame, self._frame.resolution_m
        row, column = frame.cell(*target)
        half, step = int(_FURTHEST * self._params.camera_far_m / res), max(1, round(lattice_m / res))
        rows, columns = (np.arange(k % step + (k - half) // step * step, k + half + 1, step) for k in (row, column))
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
