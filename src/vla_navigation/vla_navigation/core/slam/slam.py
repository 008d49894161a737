"""SLAM in the plane: one laser scan and one odometry pose in, the robot's pose in the map out.

Every scan is matched with the walls around the present keyframe, under a prior from odometry. A keyframe is added
where the robot comes to see something new; where it has been before, it returns to the old keyframe instead, so the
map grows with the flat, not with time. All else (solving the graph, looking for loops, drawing the grid anew, looking
for a lost robot) is done in short steps, one per scan.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_core import se2
from vla_core.errors import MapError, ScanError
from vla_core.types import NS, Float64
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_navigation.core.slam import map_file
from vla_navigation.core.slam.correlative import Window
from vla_navigation.core.slam.loops import FLOOR, LoopCloser, measured
from vla_navigation.core.slam.matcher import Match, match
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.slam.place_map import PlaceMap
from vla_navigation.core.slam.pose_graph import Edge
from vla_navigation.core.slam.relocalisation import Relocated, relocalise
from vla_navigation.core.slam.scan import LaserScan, Sweep, sweep

TRACKING, COASTING, LOST = "tracking", "coasting", "lost"
_STILL = np.diag([1e-3, 1e-3, 1e-3]) ** 2  # odometry of a robot at rest [m², m², rad²]
_RESIDUAL_M, _JUMP_M = 0.05, 0.4  # of a match that is believed, at most
_LOST_AFTER_S = 2.0
_SOONEST_M, _SOONEST_RAD = 0.15, 0.3  # between keyframes, however new the view is
_RETURN_SHARE = 0.75  # of keyframe_distance_m: this near, an old keyframe takes the place of a new one
_RETURNED_M, _RETURNED_RAD = 0.1, 0.05  # off the map up to which a return needs no loop
_NEAR_M, _NEAR_RAD = 0.5, 0.35  # a person's word is at least so uncertain
_RETURN_COVARIANCE = np.diag([0.05, 0.05, 0.02]) ** 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one scan said.

    Attributes:
        stamp_ns: When the robot was there: the scan's last ray [ns, ROS clock].
        pose: float64 (3,) map -> base.
        map_odom: float64 (3,) map -> odom, which stays as it was while the robot is lost.
        covariance: float64 (3,3) of x, y, yaw against the nearest keyframe [m², m·rad, rad²].
        status: 'tracking'; 'coasting', on odometry alone; or 'lost', when the pose means nothing.
        overlap: Share of the scan on known walls, 0..1.
        residual_m: Root mean square distance of these from the walls.
        weak: How much of the three directions the walls leave to odometry, 0..3.
        events: What happened: 'keyframe', 'returned', 'loop', 'lost', 'relocalised', or why it can't be found.
    """

    stamp_ns: int
    pose: Float64
    map_odom: Float64
    covariance: Float64
    status: str
    overlap: float
    residual_m: float
    weak: float
    events: tuple[str, ...]


class Slam:
    """Map and pose; not reentrant.

    Args:
        params: Thresholds.
        place: A known map, in which the robot is lost at first; None: the map begins at the robot.
    """

    def __init__(self, params: SlamParameters, place: PlaceMap | None = None) -> None:
        self._params = params
        self._map = place or PlaceMap(params.resolution_m)
        self._loops = LoopCloser(self._map, params)
        self._status = LOST if place else TRACKING
        self._last: tuple[int, Float64] | None = None  # stamp [ns] and odometry
        self._reference = 0  # number of the keyframe whose submap the scans are matched with
        self._pose: Float64 = np.zeros(3)  # of the robot, seen from there
        self._covariance: Float64 = FLOOR.copy()
        self._map_odom: Float64 = np.zeros(3)
        self._coasted_m, self._coasted_s = 0.0, 0.0
        self._looking: Generator[None, None, list[Edge]] | None = None
        self._searching: Generator[None, None, Relocated] | None = None
        self._unseen: int | None = None  # keyframe whose loops are still to be looked for
        self._searched_from: Float64 = np.zeros(3)  # odometry at the scan that is searched for
        self._near: Window | None = None  # where somebody says that the robot is
        if len(self._map.sweeps):
            self._enter(0, np.zeros(3), FLOOR)

    @property
    def keyframes(self) -> Float64:
        """Poses (K,3) of all keyframes in the map."""
        return self._map.graph.poses.copy()

    @property
    def reference(self) -> tuple[int, Float64]:
        """The present keyframe's number, and the robot's pose (3,) seen from it: what stays when the map moves."""
        return self._reference, self._pose.copy()

    def grid(self) -> OccupancyGrid:
        """The map as a grid."""
        return self._map.grid()

    def save(self, path: Path) -> None:
        """Write `<path>.yaml`, `<path>.pgm` for others and `<path>.npz` for `load`.

        Raises:
            MapError: the files can't be written.
        """
        map_file.save(self._map, path)
        self.grid().save(path)

    @classmethod
    def load(cls, path: Path, params: SlamParameters) -> Slam:
        """Go on with the map of `<path>.npz`; the robot is lost until it has been found there.

        Raises:
            MapError: the file is missing or broken.
        """
        return cls(params, map_file.load(path, params.resolution_m))

    def look_near(self, pose: Float64, reach_m: float, reach_rad: float) -> None:
        """Somebody says where the robot is: it counts as lost until the next scans have found it there, or anywhere.

        Args:
            pose: (3,) map -> base, at the time of the next scan. reach_m, reach_rad: How wrong that may be.

        Raises:
            MapError: there is no map yet, or the pose isn't finite.
        """
        if not self._map.sweeps or pose.shape != (3,) or not np.isfinite(pose).all():
            got = f"pose {pose} in a map of {len(self._map.sweeps)} keyframes"
            raise MapError(got, "a finite pose and a map", "wait for the first scan, or load a map")
        self._near = Window(pose.copy(), max(reach_m, _NEAR_M), min(np.pi, max(reach_rad, _NEAR_RAD)))
        self._status = LOST
        self._searching = self._looking = self._unseen = None

    def update(self, scan: LaserScan, odometry: Float64, covariance: Float64 | None = None) -> Estimate:
        """Take a scan.

        Args:
            odometry: (3,) odom -> base at the scan's last ray (`LaserScan.end_ns`).
            covariance: (3,3) of the motion since the last scan, along the base's axes then [m², m·rad, rad²];
                None: by `odometry_share`.

        Raises:
            ScanError: a scan that isn't newer than the last one, a first one that met nothing, or odometry that isn't
                finite; nothing has changed.
            MapError: the map would become too large.
        """
        motion, step_s = self._motion(scan, odometry)
        noise = self._noise(motion) if covariance is None else _checked(covariance) + _STILL
        seen = sweep(scan, se2.log(motion) / step_s if step_s else np.zeros(3))
        if not self._map.sweeps and not seen.hit.any():
            raise ScanError("a first scan that met nothing", "walls within its reach", "uncover the lidar")
        events: list[str] = []
        self._last = (scan.end_ns, odometry.copy())
        if not self._map.sweeps:
            self._add(seen, np.zeros(3), events)
        self._predict(motion, noise)
        fitted = match(self._submap, seen, self._pose, self._covariance, self._params.degenerate_share)
        if self._status == LOST:
            self._find(seen, odometry, events)
        else:
            self._judge(fitted, motion, step_s, events)
        if self._status == TRACKING:
            self._keep(seen, fitted, events)
        self._tend(events)
        pose = se2.compose(self._map.graph.poses[self._reference], self._pose)
        if self._status != LOST:
            self._map_odom = se2.compose(pose, se2.inverse(odometry))
        return Estimate(
            scan.end_ns, pose, self._map_odom.copy(), self._covariance.copy(), self._status,
            fitted.overlap, fitted.residual_m, fitted.weak, tuple(events),
        )  # fmt: skip

    def _motion(self, scan: LaserScan, odometry: Float64) -> tuple[Float64, float]:
        """The motion (3,) since the last scan, and how long it took [s]; zeros for the first."""
        if odometry.shape != (3,) or not np.isfinite(odometry).all():
            raise ScanError(f"odometry {odometry}", "a finite x, y, yaw", "check the odometry")
        if self._last is None:
            return np.zeros(3), 0.0
        stamp_ns, before = self._last
        if scan.end_ns <= stamp_ns:
            got = f"a scan of {scan.end_ns} ns after one of {stamp_ns} ns"
            raise ScanError(got, "stamps that grow", "check the clock, start again after a reset")
        return se2.between(before, odometry), (scan.end_ns - stamp_ns) / NS

    def _noise(self, motion: Float64) -> Float64:
        """Covariance (3,3) of a motion by odometry, whose errors last for about a metre or a radian."""
        path, turn = float(np.hypot(motion[0], motion[1])), abs(float(motion[2]))
        share = self._params.odometry_share**2
        noise: Float64 = np.diag([share * path, share * path, share * (path + turn)]) + _STILL
        return noise

    def _predict(self, motion: Float64, noise: Float64) -> None:
        """Move the robot on by odometry."""
        c, s = np.cos(self._pose[2]), np.sin(self._pose[2])
        ahead, turn = np.eye(3), np.eye(3)
        turn[:2, :2] = [[c, -s], [s, c]]
        ahead[:2, 2] = [-s * motion[0] - c * motion[1], c * motion[0] - s * motion[1]]
        self._pose = se2.compose(self._pose, motion)
        self._covariance = ahead @ self._covariance @ ahead.T + turn @ noise @ turn.T

    def _judge(self, fitted: Match, motion: Float64, step_s: float, events: list[str]) -> None:
        """Believe a match, or coast, or give up."""
        jump_m = np.hypot(*(fitted.pose[:2] - self._pose[:2]))
        if fitted.overlap >= self._params.least_overlap and fitted.residual_m < _RESIDUAL_M and jump_m < _JUMP_M:
            self._pose, self._covariance = fitted.pose, fitted.covariance
            self._status, self._coasted_m, self._coasted_s = TRACKING, 0.0, 0.0
            return
        self._status = COASTING
        self._coasted_m += float(np.hypot(motion[0], motion[1]))
        self._coasted_s += step_s
        if self._coasted_m > self._params.lost_after_m or self._coasted_s > _LOST_AFTER_S:
            self._status = LOST
            self._looking = self._unseen = None
            events.append("lost")

    def _keep(self, seen: Sweep, fitted: Match, events: list[str]) -> None:
        """Return to an old keyframe, or add one, where one is due."""
        away_m, turned = float(np.hypot(*self._pose[:2])), abs(float(self._pose[2]))
        new_view = fitted.overlap < self._params.keyframe_overlap and (away_m > _SOONEST_M or turned > _SOONEST_RAD)
        if away_m < self._params.keyframe_distance_m and not new_view:
            return
        if not self._return(seen, events):
            self._add(seen, self._pose, events)

    def _return(self, seen: Sweep, events: list[str]) -> bool:
        """Go over to an old keyframe near the robot, if it sees what the robot sees; whether that was so."""
        poses = self._map.graph.poses
        away = np.linalg.norm(poses[:, :2] - se2.compose(poses[self._reference], self._pose)[:2], axis=1)
        away[self._reference] = np.inf
        old = int(np.argmin(away))
        if not away[old] < _RETURN_SHARE * self._params.keyframe_distance_m:
            return False
        between = se2.between(poses[old], poses[self._reference])
        guess, uncertain = se2.compose(between, self._pose), _turned(self._covariance, between[2])
        submap = self._map.submap(old, self._params.submap_keyframes)
        fitted = match(submap, seen, guess, uncertain + _RETURN_COVARIANCE, self._params.degenerate_share)
        off = se2.between(guess, fitted.pose)
        near = np.hypot(off[0], off[1]) < _RETURNED_M and abs(off[2]) < _RETURNED_RAD
        if fitted.overlap < self._params.loop_overlap or not near:
            return False
        if not self._map.graph.linked(self._reference, old):
            motion = se2.compose(self._pose, se2.inverse(fitted.pose))
            both = self._covariance + _turned(measured(fitted.information), motion[2])
            self._map.add_edge(Edge(self._reference, old, motion, both, True))
        self._reference, self._submap = old, submap
        self._pose, self._covariance = fitted.pose, fitted.covariance
        events.append("returned")
        return True

    def _add(self, seen: Sweep, pose: Float64, events: list[str]) -> None:
        """Add a keyframe where the robot is, `pose` (3,) from the present one."""
        first = not self._map.sweeps
        place = pose if first else se2.compose(self._map.graph.poses[self._reference], pose)
        number = self._map.add_keyframe(seen, place)
        if not first:
            self._map.add_edge(Edge(self._reference, number, pose.copy(), self._covariance + FLOOR, False))
            self._unseen = number
        self._enter(number, np.zeros(3), FLOOR)
        events.append("keyframe")

    def _enter(self, number: int, pose: Float64, covariance: Float64) -> None:
        """Go on from a keyframe."""
        self._reference, self._pose, self._covariance = number, pose, covariance.copy()
        self._submap = self._map.submap(number, self._params.submap_keyframes)

    def _tend(self, events: list[str]) -> None:
        """One step of the work that needn't be done at once."""
        if self._map.tend():
            return
        if self._looking is None and self._unseen is not None:
            self._looking, self._unseen = self._loops.look(self._unseen), None
        if self._looking is None:
            return
        try:
            next(self._looking)
        except StopIteration as end:
            self._looking = None
            for edge in end.value:
                self._map.add_edge(edge)
                events.append("loop")

    def _find(self, seen: Sweep, odometry: Float64, events: list[str]) -> None:
        """One step of the search for a lost robot."""
        if self._searching is None:
            self._searching = relocalise(self._map, seen, self._params, self._near)
            self._searched_from = odometry.copy()
        try:
            next(self._searching)
        except StopIteration as end:
            self._searching = self._near = None
            found: Relocated = end.value
            if found.keyframe < 0:
                events.append(found.why)
                return
            since = se2.between(self._searched_from, odometry)
            self._enter(found.keyframe, found.pose, found.covariance)
            self._predict(since, self._noise(since))
            self._status, self._coasted_m, self._coasted_s = COASTING, 0.0, 0.0
            events.append("relocalised")


def _turned(covariance: Float64, angle: float) -> Float64:
    """A covariance (3,3) of x, y, yaw on axes turned by `angle`."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    turned: Float64 = turn @ covariance @ turn.T
    return turned


def _checked(covariance: Float64) -> Float64:
    """The covariance if it is one.

    Raises:
        ScanError: another shape, not finite, not symmetric, or with a negative eigenvalue.
    """
    shaped = covariance.shape == (3, 3) and np.isfinite(covariance).all() and np.allclose(covariance, covariance.T)
    if not shaped or np.linalg.eigvalsh(covariance)[0] < -1e-12:
        got = f"an odometry covariance {np.array2string(covariance, precision=3)}"
        raise ScanError(got, "a symmetric (3,3) without negative eigenvalues", "check the odometry, or give None")
    return covariance
