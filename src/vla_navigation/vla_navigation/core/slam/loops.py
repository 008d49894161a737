"""Loop closure: find an old keyframe that sees what a new one sees, and measure where the one is from the other.

Candidates are near by the map, allowing for its uncertainty, but far along the graph. The scan is searched for in the
candidate's surroundings (`correlative`), fitted into its submap (`matcher`), and the loop is refused where another
place would do nearly as well. A loop that contradicts the map by much waits until a second one says the same: the two
measurements and the map's own ways between their ends must close (Mangelson et al. 2018, "Pairwise consistent
measurement set maximization").
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from vla_core import se2
from vla_core.types import Float64
from vla_navigation.core.slam.correlative import ScoreField, Window, search
from vla_navigation.core.slam.matcher import match
from vla_navigation.core.slam.parameters import SlamParameters
from vla_navigation.core.slam.place_map import PlaceMap
from vla_navigation.core.slam.pose_graph import Edge

#: Covariance of a measurement in directions that the walls don't fix [m², m², rad²].
_UNFIXED = np.diag([10.0, 10.0, 3.0]) ** 2
#: What neighbouring keyframes have in common and no covariance tells [m², m², rad²].
FLOOR = np.diag([5e-3, 5e-3, 2e-3]) ** 2
_GUESS = np.diag([0.15, 0.15, 0.1]) ** 2  # of a search's result
_SIGMAS = 3.0
_TURN_RAD = 0.5
_FURTHEST_M = 5.0
_SCORE, _RIVAL = 0.5, 0.9
_PLAUSIBLE_M, _PLAUSIBLE_RAD = 0.3, 0.1  # contradiction of the map up to which one loop is enough
_AGREED_M, _AGREED_RAD = 0.15, 0.05  # of two that contradict it by more


class LoopCloser:
    """Looks for loops of one map."""

    def __init__(self, place: PlaceMap, params: SlamParameters) -> None:
        self._map, self._params = place, params
        self._waiting: list[Edge] = []

    def look(self, number: int) -> Generator[None, None, list[Edge]]:
        """Look for a loop that ends at a solved keyframe; a generator of short steps.

        Returns:
            Edges to add: none, one, or two that confirm each other.
        """
        graph = self._map.graph
        sigma_m = float(np.sqrt(np.linalg.eigvalsh(graph.covariance(number)[:2, :2])[-1]))
        reach_m = min(self._params.loop_radius_m + _SIGMAS * sigma_m, _FURTHEST_M)
        away = np.linalg.norm(graph.poses[:, :2] - graph.poses[number, :2], axis=1)
        away[graph.around(number, 2 * self._params.submap_keyframes)] = np.inf
        candidate = int(np.argmin(away))
        if not away[candidate] < reach_m:
            return []
        yield
        around = graph.around(candidate, self._params.submap_keyframes)
        field = ScoreField(se2.transform(se2.inverse(graph.poses[candidate]), self._map.walls(around)))
        seen = self._map.sweeps[number]
        window = Window(se2.between(graph.poses[candidate], graph.poses[number]), reach_m, _TURN_RAD)
        yield
        found = yield from search(field, seen.points, window, _SCORE, _RIVAL)
        if found.pose is None or found.rival > 0.0:
            return []
        submap = self._map.submap(candidate, self._params.submap_keyframes)
        fitted = match(submap, seen, found.pose, _GUESS, self._params.degenerate_share)
        if fitted.overlap < self._params.loop_overlap:
            return []
        return self._confirmed(Edge(candidate, number, fitted.pose, measured(fitted.information), True))

    def _confirmed(self, loop: Edge) -> list[Edge]:
        """The loop if the map finds it plausible, with the one that it confirms if there is one, or nothing yet."""
        poses = self._map.graph.poses
        if _near(se2.between(poses[loop.start], poses[loop.end]), loop.motion, _PLAUSIBLE_M, _PLAUSIBLE_RAD):
            return [loop]
        for other in self._waiting:
            start = se2.between(poses[loop.start], poses[other.start])
            end = se2.between(poses[other.end], poses[loop.end])
            around = se2.compose(se2.compose(start, other.motion), end)
            if _near(around, loop.motion, _AGREED_M, _AGREED_RAD):
                self._waiting = []
                return [other, loop]
        self._waiting.append(loop)
        return []


def measured(information: Float64) -> Float64:
    """Covariance (3,3) of a measurement by walls alone; large where they fix nothing."""
    covariance: Float64 = np.linalg.inv(information + np.linalg.inv(_UNFIXED)) + FLOOR
    return covariance


def _near(a: Float64, b: Float64, distance_m: float, turn_rad: float) -> bool:
    off = se2.between(a, b)
    return bool(np.hypot(off[0], off[1]) < distance_m and abs(off[2]) < turn_rad)
