"""What is known of a place: keyframes with their sweeps, the graph that holds them together, and the grid of both."""

from __future__ import annotations

import numpy as np

from vla_core import se2
from vla_core.types import Float64
from vla_navigation.core.occupancy_grid import OccupancyGrid
from vla_navigation.core.slam.log_odds import LogOddsGrid
from vla_navigation.core.slam.pose_graph import Edge, PoseGraph
from vla_navigation.core.slam.scan import Sweep
from vla_navigation.core.slam.submap import Submap

_REDRAWN = 2  # keyframes per step
_MOVED_M, _MOVED_RAD = 0.01, 0.002  # less than that isn't drawn anew


class PlaceMap:
    """Keyframes, graph and grid.

    Args:
        resolution_m: Side of a cell of the grid [m].

    Attributes:
        graph: Poses of the keyframes.
        sweeps: What the robot saw at each, in the keyframe's frame.
    """

    def __init__(self, resolution_m: float) -> None:
        self.graph = PoseGraph()
        self.sweeps: list[Sweep] = []
        self._odds = LogOddsGrid(resolution_m)
        self._drawn: Float64 = np.zeros((0, 3))
        self._unsolved = False

    def add_keyframe(self, sweep: Sweep, pose: Float64) -> int:
        """Place a keyframe at `pose` (3,), map -> base, and draw it; returns its number.

        Raises:
            MapError: the map would become too large.
        """
        self._odds.add(sweep, pose)
        self._drawn = np.concatenate([self._drawn, pose[None]])
        self.sweeps.append(sweep)
        self._unsolved = True
        return self.graph.add_keyframe(pose)

    def add_edge(self, edge: Edge) -> None:
        """Take a measurement between two keyframes."""
        self.graph.add_edge(edge)
        self._unsolved = True

    def submap(self, number: int, count: int) -> Submap:
        """The walls that up to `count` keyframes around one see, in its frame."""
        points, views = [], []
        for k in self.graph.around(number, count):
            place = se2.between(self.graph.poses[number], self.graph.poses[k])
            points.append(se2.transform(place, self.sweeps[k].points))
            views.append(se2.transform(place, self.sweeps[k].origin[None]) - points[-1])
        towards = np.concatenate(views)
        return Submap.of(np.concatenate(points), towards / np.linalg.norm(towards, axis=1, keepdims=True))

    def walls(self, numbers: list[int] | None = None) -> Float64:
        """Points that keyframes hit (P,2) [m], in the map; of all of them where none are named."""
        chosen = range(len(self.sweeps)) if numbers is None else numbers
        return np.concatenate([se2.transform(self.graph.poses[k], self.sweeps[k].points) for k in chosen])

    def tend(self) -> bool:
        """Do a bounded part of what is left to do: solve the graph, or draw what has moved; False: nothing is left.

        Raises:
            MapError: the map would become too large.
        """
        if self._unsolved:
            self.graph.solve()
            self._unsolved = False
            return True
        return self._redraw()

    def grid(self) -> OccupancyGrid:
        """The grid as drawn so far."""
        return self._odds.grid()

    def _redraw(self) -> bool:
        change = np.abs(self.graph.poses - self._drawn)
        change[:, 2] = np.abs(se2.wrap(change[:, 2]))
        size = np.maximum(change[:, :2].max(axis=1) / _MOVED_M, change[:, 2] / _MOVED_RAD)
        moved = [k for k in np.argsort(-size)[:_REDRAWN].tolist() if size[k] > 1.0]
        for k in moved:
            self._odds.add(self.sweeps[k], self._drawn[k], -1)
            self._odds.add(self.sweeps[k], self.graph.poses[k])
            self._drawn[k] = self.graph.poses[k]
        return bool(moved)
