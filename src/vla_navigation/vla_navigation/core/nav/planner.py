"""Global planner: the cheapest way from the robot to its goal, and the cost-to-go field that leads along it.

A cell's cost per metre is 1 + w exp(-3 (d - r) / b) for a distance d to the nearest obstacle beyond the inscribed
radius r, with w and b of the parameters; nearer, there is no way through. Unknown cells cost more, or are closed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.types import Float32, Float64
from vla_navigation.core.nav.codes import Code, PlanError
from vla_navigation.core.nav.costmap import Costmap
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.smoothing import path_length, smooth_path
from vla_navigation.core.nav.travel import descend, travel_field

_START_SEARCH_M = 0.3  # a robot that stands too near to something may leave


@dataclass(frozen=True, slots=True)
class Plan:
    """A way to the goal.

    Attributes:
        goal: (3,) x, y, yaw, map frame; moved to the nearest place that the robot can be at.
        path: (N,3) from the robot to the goal.
        field: float32 (H,W) cost-to-go; inf: no way, or none worth knowing.
        length_m: Of the path.
    """

    goal: Float64
    path: Float64
    field: Float32
    length_m: float


class GlobalPlanner:
    """Plans for one robot.

    Args:
        inscribed_m: Radius within which its footprint reaches in every direction.
        params: Costs and tolerances.
    """

    def __init__(self, inscribed_m: float, params: NavigatorParameters) -> None:
        self._inscribed_m, self._params = inscribed_m, params

    def cost(self, costmap: Costmap, distance_m: Float32) -> Float32:
        """Cost per metre of every cell, float32 (H,W); inf where the robot can't be."""
        p = self._params
        beyond = distance_m - np.float32(self._inscribed_m)
        cost: Float32 = np.exp(np.float32(-3.0 / p.inflation_m) * beyond)
        cost *= np.float32(p.inflation_weight)
        cost += 1.0
        cost[costmap.unknown] *= np.float32(p.unknown_cost if p.allow_unknown else np.inf)
        cost[beyond < 0.0] = np.inf
        return cost

    def plan(self, costmap: Costmap, start: Float64, goal: Float64) -> Plan:
        """Plan from `start` to `goal`, both (3,) in the map frame.

        Raises:
            PlanError: there is none; its `number` says why.
        """
        frame = costmap.frame
        ends = frame.cells(np.stack([start[:2], goal[:2]]))
        inside = frame.holds(ends)
        size = f"the map, {frame.columns * frame.resolution_m:.1f} x {frame.rows * frame.resolution_m:.1f} m"
        if not inside[0]:
            raise PlanError(
                Code.PLAN_START_OUTSIDE_MAP, f"a robot at {_at(start)}", f"one inside {size}", "localise it"
            )
        if not inside[1]:
            raise PlanError(
                Code.PLAN_GOAL_OUTSIDE_MAP, f"a goal at {_at(goal)}", f"one inside {size}", "map that place"
            )
        cost = self.cost(costmap, costmap.distance_m())
        first = nearest_free(cost, ends[0], _START_SEARCH_M / frame.resolution_m)
        last = nearest_free(cost, ends[1], self._params.goal_search_m / frame.resolution_m)
        if first is None:
            got = f"a robot at {_at(start)}, too near to an obstacle"
            raise PlanError(
                Code.PLAN_START_OCCUPIED, got, "free floor around it", "move what stands there, or clear it"
            )
        if last is None:
            got = f"a goal at {_at(goal)}, in or too near to an obstacle"
            raise PlanError(Code.PLAN_GOAL_OCCUPIED, got, "one on free floor", "choose another goal")
        field = travel_field(cost, last[0], last[1], frame.resolution_m)
        if not np.isfinite(field[first]):
            got = f"no way from {_at(start)} to {_at(goal)}"
            raise PlanError(Code.PLAN_NO_VALID_PATH, got, "one that the robot fits through", "open a door, or clear it")
        cells = descend(field, cost, first[0], first[1], frame.resolution_m)
        reached = goal.copy()
        if last != tuple(ends[1]):
            reached[:2] = frame.points(np.array([last]))[0]
        path = smooth_path(cells, cost, frame, start[:2], reached)
        return Plan(reached, path, field, path_length(path))


def nearest_free(cost: Float32, cell: np.ndarray, search: float) -> tuple[int, int] | None:
    """The cell (2,) itself, or the nearest one of finite cost within `search` cells of it; None if there is none."""
    if np.isfinite(cost[cell[0], cell[1]]):
        return int(cell[0]), int(cell[1])
    half = int(search)
    low = np.maximum(cell - half, 0)
    free = np.argwhere(np.isfinite(cost[low[0] : cell[0] + half + 1, low[1] : cell[1] + half + 1])) + low
    away = np.hypot(*(free - cell).T)
    if not len(free) or away.min() > search:
        return None
    row, column = free[int(np.argmin(away))]
    return int(row), int(column)


def _at(pose: Float64) -> str:
    return f"({pose[0]:.2f}, {pose[1]:.2f}) m"
