"""Come near: to a place where the arm reaches the object by the navigator, the last decimetres by sight."""

from __future__ import annotations

import numpy as np

from vla_navigation.core.approach.base_poses import ApproachPlanner, BasePose
from vla_navigation.core.approach.reach_map import ReachMap
from vla_navigation.core.approach.visual_servo import ARRIVED, DRIVING, ServoParameters, VisualServo
from vla_navigation.core.fetch.skills import DONE, FAILED, RUNNING, Candidate, Report
from vla_navigation.core.nav.backend import NavigatorBackend
from vla_navigation.core.skills.drive import driven
from vla_navigation.core.skills.ports import Surroundings, Wheels, in_base

_RECOVERIES = 2  # where it gets no further it is blocked: there are other places to stand
_BETWEEN_NS = 400_000_000  # pictures come more often than that


class Approach:
    """Skill `approach`, whose goal is an object and the number of the attempt.

    Args:
        navigator: Who drives to the place.
        wheels: Who drives the last decimetres.
        surroundings: Map, pose and objects.
        planner: Finds places.
        reach: Of the arm.
        params: Of the last decimetres.
    """

    def __init__(
        self,
        navigator: NavigatorBackend,
        wheels: Wheels,
        surroundings: Surroundings,
        planner: ApproachPlanner,
        reach: ReachMap,
        params: ServoParameters,
    ) -> None:
        self._navigator, self._wheels, self._surroundings = navigator, wheels, surroundings
        self._planner, self._reach, self._params = planner, reach, params
        self._goal: Candidate | None = None
        self._servo: VisualServo | None = None
        self._newest_ns = 0

    def places(self, goal: Candidate) -> list[BasePose]:
        """Where to stand, the best first."""
        ground = self._surroundings.ground()
        if ground is None:
            return []
        return self._planner.poses(np.array(goal.position_m), ground.frame, ground.distance_m, ground.way_m)

    def start(self, goal: tuple[Candidate, int]) -> None:
        """Set out to the place of that attempt; 0 is the best one."""
        candidate, attempt = goal
        places = self.places(candidate)
        self._goal, self._servo, self._newest_ns = None, None, 0
        if attempt < len(places):
            self._goal = candidate
            self._navigator.go(places[attempt].pose)

    def tick(self, now_ns: int) -> Report:
        """DONE where the arm has it before it."""
        if self._goal is None:
            return Report(FAILED, "unreachable", "no other place from where the arm would reach it")
        if self._servo is None:
            report = driven(self._navigator, _RECOVERIES)
            if report.state != DONE:
                return report
            best_m = self._reach.best_distance_m(self._goal.position_m[2])
            self._servo = VisualServo(self._reach.axis_m, best_m, self._params, now_ns)
        return self._by_sight(self._servo, self._goal, now_ns)

    def cancel(self) -> None:
        """Come to rest."""
        self._navigator.cancel()
        self._wheels.drive(0.0, 0.0)

    def _by_sight(self, servo: VisualServo, goal: Candidate, now_ns: int) -> Report:
        thing, pose = self._surroundings.thing(goal.id), self._surroundings.pose()
        seen = None
        if thing is not None and pose is not None and thing.seen_ns > self._newest_ns:
            self._newest_ns, seen = thing.seen_ns, in_base(thing.position_m, pose)
        elif thing is not None and pose is not None and now_ns - self._newest_ns < _BETWEEN_NS:
            return Report(RUNNING, message="coming near")  # the twist of the last picture holds until the next one
        step = servo.step(seen, now_ns)
        self._wheels.drive(step.v_m_s, step.w_rad_s)
        if step.state == ARRIVED:
            return Report(DONE)
        if step.state == DRIVING:
            return Report(RUNNING, message="coming near")
        return Report(FAILED, step.state, "it was lost from sight" if seen is None else "it took too long")
