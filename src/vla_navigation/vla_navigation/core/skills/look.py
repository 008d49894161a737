"""See a doubtful object from another side: the second view that confirmation asks for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_core.types import NS, Float64
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.explore.view_poses import ViewPlanner
from vla_navigation.core.fetch.skills import DONE, FAILED, RUNNING, Candidate, Report
from vla_navigation.core.nav.backend import NavigatorBackend
from vla_navigation.core.skills.drive import driven
from vla_navigation.core.skills.ports import Ground, Surroundings

_RECOVERIES = 2  # there are other places to look from
_LOOK_S = 3.0  # after the arrival, for pictures to be taken and looked at
_ABOUT_M = 0.35  # what a thing lies on doesn't hide it: the lidar's plane knows no heights


class Look:
    """Skill `look`: drive to where it is seen from a new direction, and wait for a picture of it.

    Args:
        navigator: Who drives.
        surroundings: Map and pose.
        params: Camera, and what a way costs.
        before: The nearest free place that faces an object; for objects that no place shows from another side, and
            for ways that are shut. Nearer is a new view, too.
    """

    def __init__(
        self,
        navigator: NavigatorBackend,
        surroundings: Surroundings,
        params: ExplorerParameters,
        before: Callable[[Candidate], Float64 | None],
    ) -> None:
        self._navigator, self._surroundings, self._params, self._before = navigator, surroundings, params, before
        self._left: list[Float64] = []  # places that are tried after this one
        self._bearings: dict[int, list[float]] = {}  # object -> from where it has been looked at
        self._goal: Candidate | None = None
        self._there_ns: int | None = None

    def start(self, goal: Candidate) -> None:
        """Set out to another side of it."""
        self._goal, self._there_ns = goal, None
        places = self._view(goal), self._before(goal)
        self._left = [place for place in places if place is not None]
        if self._left:
            self._navigator.go(self._left.pop(0))
        else:
            self._goal = None

    def tick(self, now_ns: int) -> Report:
        """DONE when a picture taken there shows it."""
        if self._goal is None:
            return Report(FAILED, "no_view", "no free place with a view of it")
        if self._there_ns is None:
            report = driven(self._navigator, _RECOVERIES)
            if report.state == FAILED and self._left:
                self._navigator.go(self._left.pop(0))
                return Report(RUNNING, message=f"from nearer, as {report.message}")
            if report.state != DONE:
                return report
            self._there_ns = now_ns
        thing = self._surroundings.thing(self._goal.id)
        if thing is not None and thing.seen_ns > self._there_ns:
            return Report(DONE)
        if now_ns - self._there_ns > _LOOK_S * NS:
            if thing is None:  # the map saw through its place
                return Report(FAILED, "moved", "it isn't where it was seen")
            return Report(FAILED, "unseen", "no picture from there shows it")
        return Report(RUNNING, message="looking")

    def cancel(self) -> None:
        """Come to rest."""
        self._navigator.cancel()

    def _view(self, goal: Candidate) -> Float64 | None:
        ground, pose = self._surroundings.ground(), self._surroundings.pose()
        if ground is None or pose is None:
            return None
        point = np.array(goal.position_m[:2])
        here = float(np.arctan2(pose[1] - point[1], pose[0] - point[0]))
        seen_from = self._bearings.setdefault(goal.id, [here])
        fronts, worth = np.zeros((*ground.frame.shape, 2), np.float32), np.zeros(ground.frame.shape, np.float32)
        views = ViewPlanner(
            ground.frame, _open_about(ground, point), ground.opaque, fronts, worth, ground.way_m, pose, self._params
        ).facing(point, np.array(seen_from))
        if not views:
            return None
        best = views[0].pose
        seen_from.append(float(np.arctan2(best[1] - point[1], best[0] - point[0])))
        return best


def _open_about(ground: Ground, point: Float64) -> np.ndarray:
    """What hides, without the furniture that the thing lies on or in."""
    rows, columns = np.indices(ground.frame.shape)
    row, column = ground.frame.cell(point[0], point[1])
    near = np.hypot(rows - row, columns - column) * ground.frame.resolution_m < _ABOUT_M
    return np.asarray(ground.opaque & ~near)
