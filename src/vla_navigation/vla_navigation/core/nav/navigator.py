"""The embedded navigator: one tick per control period, from pose and scan to a twist that hits nothing.

    idle -> following -> turning -> idle          every goal ends with a Result
               |  ^         |
               v  |         v
             recovering <----                     blind: pose or scan too old; the base brakes

Plan (every `replan_s`, and at once when the path is blocked) -> MPPI along its cost-to-go -> safety layer. Recoveries
are counted, and between two of them the way must get shorter, so no goal goes on for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_core import se2
from vla_core.types import NS, Float64
from vla_navigation.core.nav.backend import Feedback, Result
from vla_navigation.core.nav.codes import Code, PlanError
from vla_navigation.core.nav.costmap import Costmap
from vla_navigation.core.nav.follower import Follower
from vla_navigation.core.nav.footprint import Footprint
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.moving import MovingTracker, belonging
from vla_navigation.core.nav.overhead_layer import OverheadLayer, PlacedPoints
from vla_navigation.core.nav.parameters import NavigatorParameters
from vla_navigation.core.nav.placed_scan import PlacedScan
from vla_navigation.core.nav.planner import GlobalPlanner, Plan
from vla_navigation.core.nav.progress import ProgressChecker
from vla_navigation.core.nav.recoveries import BackUp, Recovery, Turn, Wait
from vla_navigation.core.nav.safety import SafetyLayer
from vla_navigation.core.occupancy_grid import OccupancyGrid

_EXPLAINED_M = 0.15  # hits nearer to an obstacle of the map belong to it: they aren't followed
_ARRIVED = 0.7  # share of the tolerance within which the robot stops, so that it stands within the whole
_STILL = 0.01  # [m/s, rad/s]


@dataclass(frozen=True, slots=True)
class StampedPose:
    """Where the base is: (3,) x, y [m], yaw [rad] in the map frame, at `stamp_ns` [ns, ROS clock]."""

    stamp_ns: int
    pose: Float64


class Navigator:
    """Drives one base; a `NavigatorBackend` that needs ticks. Not reentrant.

    Args:
        base: Drive and limits. footprint: Of the robot. params: All tuning.
        grid: First map. height_m: Of the robot, where a lidar in space tells what it has to fit under; 0: none does.

    Attributes:
        costmap: What it drives on.
    """

    def __init__(
        self,
        base: BaseConfig,
        footprint: Footprint,
        params: NavigatorParameters,
        grid: OccupancyGrid,
        height_m: float = 0.0,
    ) -> None:
        overhead = None
        if height_m > 0.0:
            bounds = (height_m, footprint.circumscribed_m, params.mark_range_m, params.overhead_memory_s)
            overhead = OverheadLayer(GridFrame.of(grid), *bounds)
        self.costmap = Costmap(grid, params.mark_range_m, params.obstacle_memory_s, overhead)
        self._base, self._params = base, params
        self._planner, self._follower = GlobalPlanner(footprint.inscribed_m, params), Follower(base, footprint, params)
        self._safety, self._tracker = SafetyLayer(base, footprint, params), MovingTracker()
        self._progress = ProgressChecker(params.progress_m, params.progress_s)
        self._scan: PlacedScan | None = None
        self._hits, self._moving = np.zeros((0, 2)), np.zeros((0, 5))
        self._sent, self._limited_by, self._state = np.zeros(3), "", "idle"
        self._goal: Float64 | None = None
        self._result: Result | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget everything that belongs to the goal before."""
        self._follower.drop()
        self._recovery: Recovery | None = None
        self._recoveries, self._arrived, self._turned = 0, False, False
        self._begin_s = self._planned_s = math.nan  # nan: not yet
        self._blind_s = self._lost_s = math.nan  # since when
        self._time_s = self._first_left_m = 0.0

    @property
    def path(self) -> Float64:
        """The path in use (N,3); (0,3) without one."""
        return np.zeros((0, 3)) if self._follower.plan is None else self._follower.plan.path

    def set_map(self, grid: OccupancyGrid) -> None:
        """Take a new map; the next tick plans on it.

        Raises:
            MapError: as `GridFrame.of`.
        """
        self.costmap.set_map(grid)
        self._planned_s = math.nan

    def plan(self, start: Float64, goal: Float64) -> Plan:
        """A plan, without driving.

        Raises:
            PlanError: there is none (codes 200..208).
        """
        return self._planner.plan(self.costmap, start, goal)

    def go(self, goal: Float64) -> None:
        """Drive to a pose (3,) of the map frame; it replaces the goal before."""
        self._begin()
        self._goal, self._result = np.array(goal, np.float64), None

    def observe_points(self, points: PlacedPoints) -> None:
        """Take a turn of a lidar in space: what hangs over the floor is neither driven under nor closer to."""
        self.costmap.observe_points(points)

    def cancel(self) -> None:
        """Come to rest and forget the goal."""
        if self._goal is not None:
            self._end(Result(Code.NONE, "cancelled", cancelled=True))

    def feedback(self) -> Feedback:
        """Where things stand after the last tick."""
        left_m = self._follower.left_m if self._goal is not None else 0.0
        gone_m = self._first_left_m - left_m
        remaining_s = self._time_s * left_m / gone_m if gone_m > self._params.progress_m else math.inf
        return Feedback(
            self._state, left_m, self._time_s, remaining_s, self._recoveries, self._limited_by, self._result
        )  # fmt: skip

    def tick(self, now_ns: int, at: StampedPose, twist: Float64, scan: PlacedScan | None) -> Float64:
        """One control period.

        Args:
            now_ns: Time [ns, ROS clock].
            at: Newest pose. twist: (3,) that the base drives with, as measured.
            scan: Newest scan, the same object as long as there is none newer.

        Returns:
            The twist (3,) to be given to the base until the next tick.
        """
        now_s = now_ns / NS
        if scan is not None and scan is not self._scan and scan.tells_enough():
            self._observe(scan)
        if self._goal is not None:
            if math.isnan(self._begin_s):
                self._begin_s = now_s
                self._progress.reset(now_s)
            self._time_s = now_s - self._begin_s
        missing = self._missing(now_ns, at, twist)
        if missing:
            self._wait_for_sight(now_s, missing)
            self._sent = self._safety.brake(self._sent)
            return self._sent.copy()
        self._blind_s = math.nan
        wanted = np.zeros(3) if self._goal is None else self._wanted(at.pose, now_s)
        above = self.costmap.overhead(self.costmap.window(at.pose[0], at.pose[1], self._safety.reach_m))
        hits = np.concatenate([self._hits, above])
        verdict = self._safety.filter(wanted, self._sent, at.pose, hits, self._moving)
        if verdict.cause:
            self._follower.deviated()
        self._sent, self._limited_by = verdict.twist, verdict.cause
        if self._goal is None:
            self._state = "idle"
        return self._sent.copy()

    def _observe(self, scan: PlacedScan) -> None:
        met = scan.met()
        self._scan, self._hits = scan, scan.hits()
        cells = self.costmap.frame.cells(self._hits)
        inside = self.costmap.frame.holds(cells)
        loose = np.ones(len(cells), bool)
        loose[inside] = self.costmap.static_m()[tuple(cells[inside].T)] > _EXPLAINED_M
        self._tracker.observe(self._hits[loose], scan.stamp_ns / NS)
        self._moving = self._tracker.moving()
        goes_on = np.zeros(len(met), bool)
        goes_on[met] = belonging(self._hits, self._moving) >= 0
        self.costmap.observe(scan, goes_on)

    def _missing(self, now_ns: int, at: StampedPose, twist: Float64) -> str:
        """What is missing to drive by; empty: nothing."""
        oldest_ns = now_ns - self._params.stale_s * NS
        parts = {
            "pose": not np.isfinite(at.pose).all() or at.stamp_ns < oldest_ns,
            "scan": self._scan is None or self._scan.stamp_ns < oldest_ns,
            "velocity": not np.isfinite(twist).all(),
        }
        return " and ".join(name for name, is_missing in parts.items() if is_missing)

    def _wait_for_sight(self, now_s: float, missing: str) -> None:
        """No pose or scan to drive by: after a while the goal is given up."""
        if self._goal is None:
            return
        self._state = "blind"
        if math.isnan(self._blind_s):
            self._blind_s = now_s
        if now_s - self._blind_s > self._params.blind_patience_s:
            got = f"no {missing} of the last {self._params.stale_s:g} s"
            fix = "check localisation, lidar and odometry"
            self._fail(Code.CONTROL_TF_ERROR, f"got {got}; expected pose, scan and velocity; fix: {fix}")

    def _wanted(self, pose: Float64, now_s: float) -> Float64:
        """The twist (3,) that leads on to the goal; may end the goal."""
        assert self._goal is not None
        if self._recovery is not None:
            self._state = "recovering"
            twist = self._recovery.twist(pose, now_s)
            if twist is not None:
                return twist
            self._recovery = None
            self._planned_s = self._lost_s = math.nan
            self._progress.reset(now_s)
        self._state = "turning" if self._arrived else "following"
        follower, p = self._follower, self._params
        fresh = now_s - self._planned_s < p.replan_s  # false while nan
        follower.look(pose, self.costmap)
        if not fresh or follower.is_blocked():
            try:
                follower.follow(self._planner.plan(self.costmap, pose, self._goal))
            except PlanError as error:
                return self._no_plan(error, pose, now_s)
            self._planned_s = now_s
            self._first_left_m = self._first_left_m or follower.left_m
        assert follower.plan is not None
        away_m = float(np.hypot(*(follower.plan.goal[:2] - pose[:2])))
        self._arrived = away_m <= p.goal_tolerance_m * (1.0 if self._arrived else _ARRIVED)
        if self._arrived:
            if not self._turned:  # from now on the way left is an angle
                self._turned = True
                self._progress.reset(now_s)
            return self._turn(pose, now_s)
        if not self._progress.check(follower.left_m, now_s):
            got = f"{follower.left_m:.1f} m left and no nearer for {p.progress_s:g} s"
            return self._stuck(Code.CONTROL_FAILED_TO_MAKE_PROGRESS, got, pose, now_s)
        twist = follower.twist(pose, self._sent, self._moving)
        if twist is not None:
            self._lost_s = math.nan
            return twist
        if math.isnan(self._lost_s):
            self._lost_s = now_s
        if now_s - self._lost_s > p.no_control_s:
            return self._stuck(Code.CONTROL_NO_VALID_CONTROL, "no motion that touches nothing", pose, now_s)
        return np.zeros(3)

    def _turn(self, pose: Float64, now_s: float) -> Float64:
        """Turn on the spot to the goal's yaw, as fast as it can still brake; done when the base stands."""
        assert self._goal is not None
        self._state = "turning"
        error = float(se2.wrap(self._goal[2] - pose[2]))
        if abs(error) <= self._params.goal_tolerance_rad:
            if np.abs(self._sent).max() <= _STILL:
                self._end(Result(Code.NONE))
            return np.zeros(3)
        if not self._progress.check(abs(error), now_s):
            return self._stuck(Code.CONTROL_FAILED_TO_MAKE_PROGRESS, "a final turn that isn't free", pose, now_s)
        rate = min(float(self._base.velocity[2]), math.sqrt(float(self._base.acceleration[2]) * abs(error)))
        return np.array([0.0, 0.0, math.copysign(rate, error)])

    def _no_plan(self, error: PlanError, pose: Float64, now_s: float) -> Float64:
        """What the map itself closes is told at once; what only lidars saw may go away, or never have been there.

        A goal in or under something that was seen is none: driving there to see it once more won't change that.
        """
        self.costmap.clear()
        closed = self._closed(pose)
        if closed is not None and closed.number != Code.PLAN_GOAL_OCCUPIED:
            self.costmap.clear_far(pose[0], pose[1])
            closed = self._closed(pose)
        if closed is not None:
            return self._fail(closed.number, str(closed))
        return self._stuck(error.number, error.got, pose, now_s)

    def _closed(self, pose: Float64) -> PlanError | None:
        """Why there is no way to the goal; None: there is one."""
        assert self._goal is not None
        try:
            self._planner.plan(self.costmap, pose, self._goal)
        except PlanError as error:
            return error
        return None

    def _stuck(self, code: Code, got: str, pose: Float64, now_s: float) -> Float64:
        """Forget what the lidar saw and begin the next recovery, or give up."""
        p = self._params
        if self._recoveries >= p.max_recoveries:
            tried = f"after {self._recoveries} recoveries"
            return self._fail(code, f"got {got} {tried}; expected a way on; fix: clear the robot's surroundings")
        self.costmap.clear()
        kind = self._recoveries % 4
        if kind == 1:
            self._recovery = BackUp(p.back_up_m, self._base.velocity, pose, now_s)
        elif kind == 3:
            self._recovery = Turn(self._base.velocity, pose, now_s)
        else:
            self._recovery = Wait(p.wait_s, now_s)
        self._recoveries += 1
        self._arrived, self._state = False, "recovering"
        return np.zeros(3)

    def _fail(self, code: Code, message: str) -> Float64:
        self._end(Result(code, message))
        return np.zeros(3)

    def _end(self, result: Result) -> None:
        self._goal, self._result, self._state = None, result, "idle"
        self._follower.drop()
