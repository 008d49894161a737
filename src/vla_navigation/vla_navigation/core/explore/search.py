"""One search: an explorer decides where to look from, a navigator drives there, until something ends it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vla_core.types import Float64
from vla_navigation.core.explore.explorer import Explorer
from vla_navigation.core.explore.frontiers import Frontier
from vla_navigation.core.explore.view_poses import ViewPose
from vla_navigation.core.nav.backend import NavigatorBackend, Result
from vla_navigation.core.nav.codes import Code

EXPLORED, TIMEOUT, CANCELLED, LOST, BLOCKED = CODES = ("explored", "timeout", "cancelled", "lost", "blocked")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a search ended.

    Attributes:
        success: There is a candidate, or, without a target, nothing is left.
        error_code: '' or one of CODES.
        message: One sentence.
    """

    success: bool
    error_code: str
    message: str


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """What ends a search in vain.

    Attributes:
        timeout_s: After so long it is given up.
        lost_patience_s: So long a pose may be missing.
        failed_drives: So many drives in a row may fail.
        recoveries: A drive that needed more is given up: there are other places to look from.
    """

    timeout_s: float
    lost_patience_s: float
    failed_drives: int
    recoveries: int


class Search:
    """Runs one search; times are seconds of any one clock.

    Args:
        explorer: Which knows the map and what the camera has seen. backend: Drives.
        target: What is looked for; empty: everything.
        limits: What ends it in vain. now_s: When it begins.

    Attributes:
        view: Where the robot drives to now; None: nowhere.
        frontiers: That were left at the last decision.
    """

    def __init__(
        self, explorer: Explorer, backend: NavigatorBackend, target: str, limits: SearchLimits, now_s: float
    ) -> None:
        self.view: ViewPose | None = None
        self.frontiers: tuple[Frontier, ...] = ()
        self._explorer, self._backend, self._target, self._limits = explorer, backend, target, limits
        self._begin_s, self._lost_s, self._wait_s = now_s, math.nan, -math.inf
        self._failed = 0

    def step(self, now_s: float, pose: Float64 | None, renewed: bool, candidate: str = "") -> Outcome | None:
        """Go on.

        Args:
            pose: (3,) of the robot in the map; None: nobody knows it.
            renewed: The map has changed, or the camera has seen more, so that it pays to decide anew.
            candidate: What was found; empty: nothing yet.

        Returns:
            How it ended; None while it goes on.
        """
        limits, target = self._limits, f"'{self._target}'"
        if candidate:
            return self._end(True, "", candidate)
        if now_s - self._begin_s > limits.timeout_s:
            got = f"got {limits.timeout_s:g} s without {target if self._target else 'an end'}"
            return self._end(False, TIMEOUT, f"{got}; expected less; fix: allow more time")
        if pose is None:
            self._lost_s = now_s if math.isnan(self._lost_s) else self._lost_s
            if now_s - self._lost_s <= limits.lost_patience_s:
                return None
            got = f"got no pose for {limits.lost_patience_s:g} s"
            return self._end(False, LOST, f"{got}; expected one on /tf; fix: look at the SLAM's diagnostics")
        self._lost_s = math.nan
        if not self._explorer.layer.seen.any():  # without a look there are no frontiers, which isn't the end of them
            if now_s - self._begin_s <= limits.lost_patience_s:
                return None
            got = f"got no picture whose place is known for {limits.lost_patience_s:g} s"
            fix = "look at the camera, at who looks at its pictures, and at its frame on /tf"
            return self._end(False, BLOCKED, f"{got}; expected some; fix: {fix}")
        blocked = self._after_drive(now_s)
        if blocked is not None or not (renewed or self.view is None) or now_s < self._wait_s:
            return blocked
        return self._decide(now_s, pose)

    def cancel(self, why: str) -> Outcome:
        """End it by request."""
        return self._end(False, CANCELLED, why)

    def _after_drive(self, now_s: float) -> Outcome | None:
        """Take note of a drive's end, or end one that gets no further."""
        drive = self._backend.feedback()
        result, stuck = drive.result, drive.recoveries > self._limits.recoveries
        if self.view is None or (result is None and not stuck):
            return None
        if result is None:
            self._backend.cancel()
            result = Result(
                Code.CONTROL_FAILED_TO_MAKE_PROGRESS,
                f"got {drive.recoveries} recoveries on one way; expected a way on; fix: clear the robot's surroundings",
            )
        self._explorer.report(self.view, result.reached, now_s)
        self.view = None
        self._failed = 0 if result.reached else self._failed + 1
        if self._failed < self._limits.failed_drives:
            return None
        return self._end(False, BLOCKED, result.message or f"{self._failed} drives in a row failed")

    def _decide(self, now_s: float, pose: Float64) -> Outcome | None:
        decision = self._explorer.decide(pose, now_s)
        self.frontiers = decision.frontiers
        if decision.state == "done":
            left = f"{decision.given_up} frontiers were tried in vain"
            if not self._target:
                return self._end(True, "", f"nothing reachable is left; {left}")
            got = f"got no '{self._target}' in all that can be reached ({left})"
            return self._end(False, EXPLORED, f"{got}; expected it there; fix: open doors, or look for something else")
        if decision.view is None:
            self._wait_s = decision.until_s
            return None
        if self.view is None or not np.array_equal(decision.view.pose, self.view.pose):
            self.view = decision.view
            self._backend.go(decision.view.pose)
        return None

    def _end(self, success: bool, code: str, message: str) -> Outcome:
        self._backend.cancel()
        self.view = None
        return Outcome(success, code, message)
