"""Where to stand so that the arm reaches a thing, the camera sees it, and nothing is touched.

    score = reach · view · room / (1 + way / speed)

Reach is the share of directions in which the hand can be at the thing (`ReachMap`), as in Vahrenkamp, Asfour,
Dillmann, "Robot placement based on reachability inversion" (2013); the other factors are 0..1, so one that is 0 rules
a place out. Whoever fails asks for the next one, which stands apart from those that have been tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core import se2
from vla_core.errors import ConfigError
from vla_core.types import Float32, Float64
from vla_navigation.core.approach.camera_cone import CameraCone
from vla_navigation.core.approach.reach_map import ReachMap
from vla_navigation.core.nav.grid_frame import GridFrame

_BEARINGS_RAD = (
    0.0,
    -0.3,
    0.3,
    -0.7,
    0.7,
)  # of the thing, seen from the arm: straight ahead is best, but not always free


@dataclass(frozen=True, slots=True)
class ApproachParameters:
    """Weights of places to stand.

    Attributes:
        clearance_m: Distance to obstacles beyond the inscribed radius, at least.
        room_m: More than so much beyond that is no better.
        speed_m_s: At which a way is weighed.
        apart_m, apart_rad: How far the next attempt stands from all before, in place or in bearing about the thing.
        unseen: Worth of a place from where the camera doesn't see the thing, 0..1; the wrist's camera may.
        most: Places that are given.
    """

    clearance_m: float
    room_m: float
    speed_m_s: float
    apart_m: float
    apart_rad: float
    unseen: float
    most: int

    def __post_init__(self) -> None:
        if min(self.room_m, self.speed_m_s, self.most) <= 0 or self.unseen > 1:
            got = f"room {self.room_m} m, speed {self.speed_m_s} m/s, most {self.most}, unseen {self.unseen}"
            raise ConfigError(got, "numbers > 0, unseen 0..1", "correct fetch_node in config/navigation.yaml")


@dataclass(frozen=True, slots=True)
class BasePose:
    """A place to stand.

    Attributes:
        pose: float64 (3,) x, y, yaw of the base, map frame.
        reach: Share of directions in which the hand can be at the thing, > 0.
        seen: Whether the camera has the thing in view from there.
        clearance_m: From the base's centre to the nearest obstacle.
        score: What it was chosen by.
    """

    pose: Float64
    reach: float
    seen: bool
    clearance_m: float
    score: float


class ApproachPlanner:
    """Finds places to stand for one robot.

    Args:
        reach: Of its arm.
        camera: That is to have the thing in view, moved by nothing but the base.
        inscribed_m: Radius within which its footprint reaches in every direction.
        params: Weights.
    """

    def __init__(self, reach: ReachMap, camera: CameraCone, inscribed_m: float, params: ApproachParameters) -> None:
        self._reach, self._camera, self._inscribed_m, self._params = reach, camera, inscribed_m, params

    def poses(self, thing_m: Float64, frame: GridFrame, distance_m: Float32, way_m: Float32) -> list[BasePose]:
        """The best places, each apart from those before it; empty: there is none.

        Args:
            thing_m: float64 (3,) map frame, z above the floor.
            frame: Of the grids.
            distance_m: float32 (H,W) from each cell to the nearest obstacle.
            way_m: float32 (H,W) way of the robot to each cell; inf: it can't get there.
        """
        cells = self._cells(thing_m, frame, distance_m, way_m)
        if not len(cells):
            return []
        places = frame.points(cells)
        bearing = np.array(_BEARINGS_RAD)
        yaw = self._facing(places, thing_m)[:, None] - bearing
        base = np.concatenate([np.repeat(places, len(bearing), 0), yaw.reshape(-1, 1)], 1)
        things = _in_base(thing_m, base)
        reach, seen = self._reach.at(things), self._camera.sees(things)
        away, way = (np.repeat(grid[tuple(cells.T)], len(bearing)).astype(np.float64) for grid in (distance_m, way_m))
        p = self._params
        room = np.clip((away - self._inscribed_m) / p.room_m, 0.0, 1.0)
        score = reach * np.where(seen, 1.0, p.unseen) * room / (1.0 + way / p.speed_m_s)
        chosen: list[int] = []
        for k in np.argsort(-score, kind="stable"):
            if score[k] <= 0.0 or len(chosen) == p.most:
                break
            if all(self._apart(base[k], base[other], thing_m) for other in chosen):
                chosen.append(int(k))
        return [BasePose(base[k], float(reach[k]), bool(seen[k]), float(away[k]), float(score[k])) for k in chosen]

    def _cells(self, thing_m: Float64, frame: GridFrame, distance_m: Float32, way_m: Float32) -> np.ndarray:
        """Cells (N,2) that the robot can get to, with room around it, and the thing within the arm's length."""
        length = float(self._reach.distance_m[-1] + np.hypot(*self._reach.axis_m))
        row, column = frame.cell(thing_m[0], thing_m[1])
        half = int(np.ceil(length / frame.resolution_m))
        grid = np.mgrid[row - half : row + half + 1, column - half : column + half + 1].reshape(2, -1).T
        grid = grid[frame.holds(grid)]
        at = tuple(grid.T)
        free = (distance_m[at] >= self._inscribed_m + self._params.clearance_m) & np.isfinite(way_m[at])
        return np.asarray(grid[free])

    def _facing(self, places: Float64, thing_m: Float64) -> Float64:
        """Yaw (N,) of a base at places (N,2) whose arm has the thing straight ahead.

        The arm's axis may lie beside the base's origin, and a turn moves it: with it `s` to the left, the thing must
        lie `s` to the left of the base's own line of sight.
        """
        to = thing_m[:2] - places
        aside = np.clip(float(self._reach.axis_m[1]) / np.maximum(np.hypot(*to.T), 1e-9), -1.0, 1.0)
        yaw: Float64 = np.arctan2(to[:, 1], to[:, 0]) - np.arcsin(aside)
        return yaw

    def _apart(self, one: Float64, other: Float64, thing_m: Float64) -> bool:
        p = self._params
        from_thing = [np.arctan2(pose[1] - thing_m[1], pose[0] - thing_m[0]) for pose in (one, other)]
        around = abs(float(se2.wrap(from_thing[0] - from_thing[1])))
        return float(np.hypot(*(one[:2] - other[:2]))) >= p.apart_m or around >= p.apart_rad


def _in_base(thing_m: Float64, base: Float64) -> Float64:
    """The thing (3,) as seen from base poses (N,3), (N,3)."""
    to, (cos, sin) = thing_m[:2] - base[:, :2], (np.cos(base[:, 2]), np.sin(base[:, 2]))
    ahead, aside = cos * to[:, 0] + sin * to[:, 1], cos * to[:, 1] - sin * to[:, 0]
    return np.stack([ahead, aside, np.full(len(base), thing_m[2])], 1)
