"""The explorer: decides where to look from next, until no reachable frontier of what the camera has seen is left.

Costs come from the lidar's map, frontiers from the camera's. The best view so far is kept until another one is clearly
better (hysteresis), a view that failed is tried again later, and `done` says only that every frontier that is left was
tried as often as allowed, or shows nothing from anywhere that the robot can get to.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from vla_core.types import Float32, Float64
from vla_navigation.core.explore.blacklist import RADIUS_M, Blacklist
from vla_navigation.core.explore.frontiers import Frontier, find_frontiers, frontier_cells
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.explore.prior import NoPrior, Prior
from vla_navigation.core.explore.seen_layer import SeenLayer
from vla_navigation.core.explore.view_poses import ViewPlanner, ViewPose
from vla_navigation.core.nav.costmap import distances
from vla_navigation.core.nav.planner import nearest_free
from vla_navigation.core.nav.travel import travel_field
from vla_navigation.core.occupancy_grid import OccupancyGrid

_NEAR_WEIGHT, _NEAR_RATE = 3.0, 6.0  # ways along walls are dearer: 1 + 3 exp(-6 (d - clearance))
_LEAVE_M = 0.4  # a robot nearer to something than its clearance may leave


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next.

    Attributes:
        state: 'go' to the view, 'wait' until blacklisted frontiers may be tried again, 'done'.
        view: Where to look from; None unless 'go'.
        frontiers: All frontiers, for display.
        until_s: When to ask again while waiting.
        given_up: How many frontiers are left that were tried in vain too often.
    """

    state: str
    view: ViewPose | None
    frontiers: tuple[Frontier, ...]
    until_s: float
    given_up: int


class Explorer:
    """Explores with one camera. Not reentrant; times are seconds of any one clock.

    Args:
        grid: First map of the lidar. params: All tuning. prior: Where it pays to look first.

    Attributes:
        layer: What the camera has seen.
    """

    def __init__(self, grid: OccupancyGrid, params: ExplorerParameters, prior: Prior | None = None) -> None:
        self.layer = SeenLayer(grid, params)
        self._params, self._prior = params, prior or NoPrior()
        self._blacklist = Blacklist(params.blacklist_s, params.max_attempts)
        self._not_reached = Blacklist(params.blacklist_s, params.max_attempts)  # places to stand at
        self._current: ViewPose | None = None
        self._again: deque[tuple[Float64, Float64]] = deque()  # points to be looked at again, bearings so far
        self._looking_again = False

    def set_map(self, grid: OccupancyGrid) -> None:
        """Take a newer map.

        Raises:
            MapError: as `GridFrame.of`.
        """
        self.layer.set_map(grid)

    def set_prior(self, prior: Prior) -> None:
        """Look by other hints from now on."""
        self._prior = prior

    def observe(self, camera: Float64) -> None:
        """A picture was taken and looked at, from a pose (3,)."""
        self.layer.observe(camera)

    def look_again(self, point: Float64, bearings: Float64) -> None:
        """A candidate: look at a point (2,) again, once, before all frontiers.

        Args:
            bearings: (N,) [rad] from the point to where it was seen from; another side is preferred.
        """
        self._again.append((point.copy(), bearings.copy()))

    def frontiers(self) -> tuple[Frontier, ...]:
        """Where what the camera has seen ends now."""
        return tuple(find_frontiers(self._frontier_cells(), self.layer.frame, self._params.chunk_m))

    def report(self, view: ViewPose, reached: bool, now_s: float) -> None:
        """The robot stands at a view and has looked, or could not get there."""
        self._current = None
        if not reached:
            self._not_reached.add(view.pose[:2], now_s)
        if self._looking_again:
            self._again.popleft()
            self._looking_again = False
            return
        border = self._frontier_cells()
        left = self.layer.frame.points(np.argwhere(border))
        still = len(left) and np.hypot(*(left - view.target).T).min() <= self.layer.frame.resolution_m
        if not reached or still:
            self._blacklist.add(view.target, now_s)

    def decide(self, pose: Float64, now_s: float) -> Decision:
        """The next view for a robot at (3,); ask as often as the map changes."""
        self.layer.stand(pose)
        barred, barred_until_s = self._not_reached.barred(now_s)
        planner = self._planner(pose, barred)
        while self._again:
            point, bearings = self._again[0]
            views = planner.facing(point, bearings)
            if views:
                self._looking_again = True
                return Decision("go", views[0], (), now_s, 0)
            self._again.popleft()  # nowhere to look at it from
        frontiers = self.frontiers()
        views, later, given_up = [], [], 0
        for frontier in frontiers:
            free_at_s = self._blacklist.free_at_s(frontier.centre, now_s)
            view = planner.best(frontier.centre)
            if view is None:
                if np.isfinite(barred_until_s):
                    later.append(barred_until_s)  # perhaps from a place that couldn't be reached just now
                continue
            if free_at_s <= now_s:
                views.append(view)
            elif np.isinf(free_at_s):
                given_up += 1
            else:
                later.append(free_at_s)
        self._current = self._choose(views, planner)
        if self._current is not None:
            return Decision("go", self._current, frontiers, now_s, given_up)
        return Decision("wait" if later else "done", None, frontiers, min(later, default=now_s), given_up)

    def _choose(self, views: list[ViewPose], planner: ViewPlanner) -> ViewPose | None:
        """The best view, or the current one while it still shows enough and is not clearly worse."""
        best = max(views, key=lambda view: view.score, default=None)
        if self._current is None:
            return best
        cell = np.array(self.layer.frame.cell(*self._current.pose[:2]))
        if not self.layer.frame.holds(cell[None])[0]:
            return best
        kept = planner.at(cell, self._current.target, float(self._current.pose[2]))
        if kept.gain_m2 < self._params.min_gain_m2 or not np.isfinite(kept.way_m):
            return best
        return kept if best is None or best.score <= self._params.hysteresis * kept.score else best

    def _frontier_cells(self) -> np.ndarray:
        return frontier_cells(self.layer.free, self.layer.seen, self.layer.unseen())

    def _planner(self, pose: Float64, barred: Float64) -> ViewPlanner:
        """Of views from anywhere that the robot at (3,) gets to, but not from near places (N,2) that are barred."""
        layer, frame, way_m = self.layer, self.layer.frame, self._ways(pose)
        if len(barred):
            cells = np.argwhere(np.isfinite(way_m))
            near = (np.hypot(*(frame.points(cells)[:, None] - barred).T) <= RADIUS_M).any(0)
            way_m[tuple(cells[near].T)] = np.inf
        worth: Float32 = self._prior.weights(frame) * layer.unseen()
        worth[layer.occupied] *= np.float32(self._params.surface_weight)
        return ViewPlanner(frame, layer.opaque, layer.occupied, layer.normals, worth, way_m, pose, self._params)

    def _ways(self, pose: Float64) -> Float32:
        """Ways (H,W) of the robot to every cell over free floor [m]; inf where none leads."""
        layer, frame, p = self.layer, self.layer.frame, self._params
        beyond = distances(layer.occupied, frame.resolution_m) - np.float32(p.clearance_m)
        cost = np.float32(1.0) + np.float32(_NEAR_WEIGHT) * np.exp(-np.float32(_NEAR_RATE) * beyond)
        cost[(beyond < 0.0) | ~layer.free] = np.inf
        cell = np.array(frame.cell(pose[0], pose[1]))
        start = nearest_free(cost, cell, _LEAVE_M / frame.resolution_m) if frame.holds(cell[None])[0] else None
        if start is None:
            return np.full(frame.shape, np.inf, np.float32)
        ways: Float32 = travel_field(cost, start[0], start[1], frame.resolution_m)
        return ways
