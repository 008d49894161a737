"""A search with a backend that arrives at once, or never."""

from __future__ import annotations

import math

import numpy as np
from navigation_data import grid_of, rooms

from vla_core.types import Float64
from vla_navigation.core.explore.explorer import Explorer
from vla_navigation.core.explore.parameters import ExplorerParameters
from vla_navigation.core.explore.search import (
    BLOCKED,
    CANCELLED,
    EXPLORED,
    LOST,
    TIMEOUT,
    Outcome,
    Search,
    SearchLimits,
)
from vla_navigation.core.nav.backend import Feedback, NavigatorBackend, Result
from vla_navigation.core.nav.codes import Code
from vla_navigation.core.nav.planner import Plan

GRID = grid_of(rooms(6.0, 3.0, (2.9, 0.0, 3.0, 2.0)))
LIMITS = SearchLimits(timeout_s=100.0, lost_patience_s=5.0, failed_drives=3, recoveries=2)
START = np.array([1.0, 1.5, 0.0])


class Jumps:
    """A navigator that is there at once; or one that fails with `code`."""

    def __init__(self, code: Code = Code.NONE) -> None:
        self.at, self.code = START.copy(), code
        self.goals: list[Float64] = []
        self.cancelled = 0
        self.result: Result | None = None

    def plan(self, start: Float64, goal: Float64) -> Plan:
        raise NotImplementedError

    def go(self, goal: Float64) -> None:
        self.goals.append(goal)
        self.result = Result(self.code, "no way" if self.code else "")
        if self.result.reached:
            self.at = goal.copy()

    def cancel(self) -> None:
        self.cancelled += 1

    def feedback(self) -> Feedback:
        return Feedback("idle", 0.0, 0.0, math.inf, 0, "", self.result)


def search(backend: Jumps, target: str = "") -> tuple[Search, Explorer]:
    explorer = Explorer(GRID, ExplorerParameters.from_config())
    explorer.observe(START)
    typed: NavigatorBackend = backend
    return Search(explorer, typed, target, LIMITS, 0.0), explorer


def run(backend: Jumps, target: str = "", found_at_s: float = math.inf) -> tuple[Outcome, Explorer]:
    one, explorer = search(backend, target)
    for k in range(2000):
        now_s = 0.1 * k
        explorer.observe(backend.at)
        outcome = one.step(now_s, backend.at, True, "a red mug" if now_s >= found_at_s else "")
        if outcome is not None:
            return outcome, explorer
    raise AssertionError("a search ends")


def test_without_a_target_it_ends_when_nothing_is_left() -> None:
    backend = Jumps()
    outcome, explorer = run(backend)
    assert outcome.success and outcome.error_code == "" and backend.goals
    assert explorer.layer.coverage() > 0.9


def test_with_a_target_the_same_end_is_a_failure() -> None:
    outcome, _ = run(Jumps(), "red mug")
    assert (outcome.success, outcome.error_code) == (False, EXPLORED) and "'red mug'" in outcome.message


def test_a_candidate_ends_it_at_once_and_stops_the_drive() -> None:
    backend = Jumps()
    outcome, _ = run(backend, "red mug", found_at_s=0.2)
    assert outcome == Outcome(True, "", "a red mug") and backend.cancelled == 1


def test_drives_that_fail_block_it() -> None:
    backend = Jumps(Code.CONTROL_FAILED_TO_MAKE_PROGRESS)
    outcome, _ = run(backend)
    assert (outcome.error_code, outcome.message) == (BLOCKED, "no way") and len(backend.goals) == 3


def test_regression_a_drive_that_gets_no_further_is_given_up_for_another_view() -> None:
    """A navigator may try for three minutes; one view isn't worth that."""

    class Stalls(Jumps):
        recoveries = 0

        def go(self, goal: Float64) -> None:
            if len(self.goals) != 1:
                return super().go(goal)
            self.goals.append(goal)
            self.result = None

        def feedback(self) -> Feedback:
            if self.result is not None or not self.goals:
                return super().feedback()
            self.recoveries += 1
            return Feedback("recovering", 0.2, 0.0, math.inf, self.recoveries, "", None)

    backend = Stalls()
    outcome, explorer = run(backend)
    assert outcome.success and explorer.layer.coverage() > 0.9
    assert backend.cancelled == 2 and backend.recoveries == LIMITS.recoveries + 1  # the other one is the search's end
    assert not np.array_equal(backend.goals[1], backend.goals[2])


def test_without_a_pose_it_waits_and_then_is_lost() -> None:
    one, _ = search(Jumps())
    assert one.step(1.0, None, True) is None
    assert one.step(2.0, START, True) is None, "found again"
    assert one.step(3.0, None, True) is None and one.step(7.9, None, True) is None
    outcome = one.step(8.1, None, True)
    assert outcome is not None and outcome.error_code == LOST


def test_a_search_without_pictures_is_not_at_its_end() -> None:
    """Regression: nothing was seen, so there was no frontier, and the search said that nothing was left."""
    one = Search(Explorer(GRID, ExplorerParameters.from_config()), Jumps(), "", LIMITS, 0.0)
    assert one.step(0.1, START, True) is None and one.step(4.9, START, True) is None
    outcome = one.step(5.1, START, True)
    assert outcome is not None and outcome.error_code == BLOCKED and "no picture" in outcome.message


def test_time_runs_out_and_it_may_be_cancelled() -> None:
    backend = Jumps()
    one, _ = search(backend)
    outcome = one.step(100.1, START, True)
    assert outcome is not None and outcome.error_code == TIMEOUT and backend.cancelled == 1
    assert search(backend)[0].cancel("by request") == Outcome(False, CANCELLED, "by request")
