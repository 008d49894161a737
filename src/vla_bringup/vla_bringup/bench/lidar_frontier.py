"""What m-explore does (explore_lite with distance alone): drive to the nearest frontier of the lidar's map.

The camera looks along the way; it has no say in where to go.
"""

from __future__ import annotations

import numpy as np

from vla_core.types import Float64
from vla_navigation.core.explore.explorer import Decision, Explorer
from vla_navigation.core.explore.frontiers import find_frontiers, frontier_cells
from vla_navigation.core.explore.view_poses import ViewPose
from vla_navigation.core.nav.planner import nearest_free

_LEAST_M = 0.75  # explore_lite's min_frontier_size
_REACH_M = 1.0  # from a frontier to a place that the robot can stand at


class NearestLidarFrontier(Explorer):
    """The baseline: maps, sees and blacklists as `Explorer`, chooses by distance."""

    def decide(self, pose: Float64, now_s: float) -> Decision:
        """The nearest frontier of the lidar that isn't blacklisted."""
        layer, frame = self.layer, self.layer.frame
        border = frontier_cells(layer.free, np.ones_like(layer.seen), ~layer.free & ~layer.occupied)
        ways, best = self._ways(pose), None
        for frontier in find_frontiers(border, frame, 10.0):
            if len(frontier.cells) * frame.resolution_m < _LEAST_M:
                continue
            if self._blacklist.free_at_s(frontier.centre, now_s) > now_s:
                continue
            cell = nearest_free(ways, np.array(frame.cell(*frontier.centre)), _REACH_M / frame.resolution_m)
            if cell is not None and (best is None or ways[cell] < best.way_m):
                x, y = frame.points(np.array([cell]))[0]
                ahead = frontier.centre - pose[:2]
                goal = np.array([x, y, np.arctan2(ahead[1], ahead[0])])
                best = ViewPose(goal, frontier.centre, 0.0, float(ways[cell]), 0.0)
        return Decision("done" if best is None else "go", best, (), now_s, 0)
