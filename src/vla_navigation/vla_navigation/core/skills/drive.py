"""Drive somewhere by the navigator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_core.types import Float64
from vla_navigation.core.fetch.skills import DONE, FAILED, Candidate, Report
from vla_navigation.core.nav.backend import NavigatorBackend

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

    def start(self, goal: Goal) -> None:
        """Set out."""
        pose = self._before(goal) if isinstance(goal, Candidate) else np.array(goal)
        self._refused = pose is None
        if pose is not None:
            self._navigator.go(pose)

    def tick(self, now_ns: int) -> Report:
        """How far it is; a failure has the navigator's code, in lower case."""
        if self._refused:
            return Report(FAILED, "unreachable", "no free place to stand before it")
        return driven(self._navigator)

    def cancel(self) -> None:
        """Come to rest."""
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
