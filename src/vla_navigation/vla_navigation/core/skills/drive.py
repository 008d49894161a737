"""Drive somewhere by the navigator; after a failure not at once again: three tries were over within a second."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_core.types import NS, Float64
from vla_navigation.core.fetch.skills import DONE, FAILED, Candidate, Report
from vla_navigation.core.nav.backend import NavigatorBackend

_AGAIN_NS = 5 * NS  # after a failure the way is given so long to clear: somebody moves on, a false mark is seen through
Goal = tuple[float, float, float] | Candidate


class Drive:
    """Skill `drive`.

    Args:
        navigator: Who drives.
        before: Where to stand before an object, float64 (3,) in the map; None: nowhere.
    """

    def __init__(self, navigator: NavigatorBackend, before: Callable[[Candidate], Float64 | None]) -> None:
        self._navigator, self._before = navigator, before
        self._refused = False
        self._waiting: Float64 | None = None  # a pose that is driven to a while after a failure
        self._failed_ns: int | None = None

    def start(self, goal: Goal) -> None:
        """Set out."""
        pose = self._before(goal) if isinstance(goal, Candidate) else np.array(goal)
        self._refused = pose is None
        self._waiting = None
        if pose is not None and self._failed_ns is None:
            self._navigator.go(pose)
        else:
            self._waiting = pose

    def tick(self, now_ns: int) -> Report:
        """How far it is; a failure has the navigator's code, in lower case."""
        if self._refused:
            return Report(FAILED, "unreachable", "no free place to stand before it")
        if self._waiting is not None:
            if self._failed_ns is not None and 0 <= now_ns - self._failed_ns < _AGAIN_NS:
                return Report(message="gives the way some time to clear")
            self._navigator.go(self._waiting)
            self._waiting = self._failed_ns = None
        report = driven(self._navigator)
        if report.state == FAILED:
            self._failed_ns = now_ns
        return report

    def cancel(self) -> None:
        """Come to rest."""
        self._waiting = None
        self._navigator.cancel()


def driven(navigator: NavigatorBackend, recoveries: int | None = None) -> Report:
    """What a navigator says of its goal, as a report; after more recoveries the goal is given up as 'blocked'."""
    feedback = navigator.feedback()
    if feedback.result is None and recoveries is not None and feedback.recoveries > recoveries:
        navigator.cancel()
        return Report(FAILED, "blocked", f"{feedback.recoveries} recoveries on the way")
    if feedback.result is None:
        return Report(message=f"{feedback.state}, {feedback.distance_remaining_m:.1f} m left")
    if feedback.result.reached:
        return Report(DONE)
    if feedback.result.cancelled:
        return Report(FAILED, "cancelled", "somebody else cancelled the drive")
    return Report(FAILED, feedback.result.code.name.lower(), feedback.result.message)
