"""What the mission drives by, whoever does the driving: the embedded navigator, or Nav2 behind an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vla_core.types import Float64
from vla_navigation.core.nav.codes import Code
from vla_navigation.core.nav.planner import Plan


@dataclass(frozen=True, slots=True)
class Result:
    """How a goal ended.

    Attributes:
        code: NONE: reached.
        message: '' or one sentence: got, expected, fix.
        cancelled: Ended by request; then the code is NONE and the goal not reached.
    """

    code: Code
    message: str = ""
    cancelled: bool = False

    @property
    def reached(self) -> bool:
        """Whether the robot stands at its goal."""
        return self.code is Code.NONE and not self.cancelled


@dataclass(frozen=True, slots=True)
class Feedback:
    """Feedback of NavigateToPose.

    Attributes:
        state: 'idle', 'following', 'turning', 'recovering' or 'blind'.
        distance_remaining_m: Along the path; 0 when idle.
        navigation_time_s: Since the goal.
        time_remaining_s: At the mean speed so far; inf before the robot has moved.
        recoveries: How many were tried.
        limited_by: '' or why the safety layer acts: 'obstacle', 'moving'.
        result: None while under way, and before the first goal.
    """

    state: str
    distance_remaining_m: float
    navigation_time_s: float
    time_remaining_s: float
    recoveries: int
    limited_by: str
    result: Result | None


class NavigatorBackend(Protocol):
    """Plans and drives to one goal at a time; poses are (3,) x, y [m], yaw [rad] in the map frame."""

    def plan(self, start: Float64, goal: Float64) -> Plan:
        """A plan, without driving.

        Raises:
            PlanError: there is none (codes 200..208).
        """

    def go(self, goal: Float64) -> None:
        """Drive to a goal; it replaces the one before. How it ends stands in `feedback().result`."""

    def cancel(self) -> None:
        """Come to rest and forget the goal."""

    def feedback(self) -> Feedback:
        """Where things stand."""
