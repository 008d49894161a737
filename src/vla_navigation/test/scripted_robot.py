"""A robot whose skills follow a script, for missions without a world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vla_core.types import NS
from vla_navigation.core.fetch.mission import FetchMission, FetchOutcome
from vla_navigation.core.fetch.progress import FetchParameters
from vla_navigation.core.fetch.skills import DONE, FAILED, RUNNING, Candidate, Report, Trouble
from vla_navigation.core.task.meaning import Meaning, Relation
from vla_navigation.core.task.understanding import understand

MUG = Candidate(7, "red mug", (2.0, 1.0, 0.4), True)
OTHER = Candidate(8, "red mug", (4.0, 1.0, 0.4), True)


class Scripted:
    """Takes `ticks` ticks, then ends as `ends` says; counts what is asked of it."""

    def __init__(self, ends: Callable[[Any], Report] = lambda _: Report(DONE), ticks: int = 4) -> None:
        self.ends, self.ticks = ends, ticks
        self.goals: list[Any] = []
        self.left = 0
        self.cancelled = 0
        self.aimless = False  # whether None is a goal

    @property
    def active(self) -> bool:
        return self.left > 0

    def start(self, goal: Any) -> None:
        assert not self.active, "started twice"
        assert goal is not None or self.aimless, "a goal that is none"
        self.goals.append(goal)
        self.left = self.ticks

    def tick(self, now_ns: int) -> Report:
        assert self.active, "ticked without a start"
        self.left -= 1
        return self.ends(self.goals[-1]) if self.left == 0 else Report(RUNNING)

    def cancel(self) -> None:
        assert self.active, "cancelled without a start"
        self.cancelled += 1
        self.left = 0


NAMES = ("explore", "look", "approach", "recognise", "grasp", "check", "place", "confirm", "drive", "rest")


@dataclass
class Robot:
    """Scripted skills, and a map that knows the mug once it has explored."""

    known: list[Candidate] = field(default_factory=list)
    hidden: list[Candidate] = field(default_factory=lambda: [MUG])
    trouble: Trouble = field(default_factory=Trouble)
    where: tuple[float, float, float] | None = (0.0, 0.0, 0.0)
    place_known: bool = True

    def __post_init__(self) -> None:
        for name in NAMES:
            setattr(self, name, Scripted())
        self.explore = Scripted(self._explored, 4)
        self.skill("place").aimless = self.skill("rest").aimless = True

    def _explored(self, _: Any) -> Report:
        if not self.hidden:
            return Report(FAILED, "explored", "nothing is left")
        self.known.append(self.hidden.pop(0))
        return Report(DONE)

    def skill(self, name: str) -> Scripted:
        found = getattr(self, name)
        assert isinstance(found, Scripted)
        return found

    def fails(self, name: str, code: str, times: int = 10**6) -> None:
        left = [times]

        def ends(_: Any) -> Report:
            left[0] -= 1
            return Report(FAILED, code, "as scripted") if left[0] >= 0 else Report(DONE)

        self.skill(name).ends = ends

    def find(self, meaning: Meaning, excluded: frozenset[int]) -> Candidate | None:
        return next((c for c in self.known if c.id not in excluded), None)

    def find_place(self, destination: Relation) -> Candidate | None:
        return Candidate(99, destination.anchor.name, (5.0, 0.0, 0.5), True) if self.place_known else None

    def pose(self) -> tuple[float, float, float] | None:
        return self.where

    def says(self) -> Trouble:
        return self.trouble


PARAMS = FetchParameters(
    timeout_s=300.0, lost_s=5.0, looks=3, poses=3, grasps=3, candidates=3, drives=2, searches=2, again_s=3.0
)  # fmt: skip


def mission(robot: Robot, said: str = "bring me the red mug", params: FetchParameters = PARAMS) -> FetchMission:
    return FetchMission(understand(said)[0], robot, params, 0)


def play(
    made: FetchMission, robot: Robot, at: dict[int, Callable[[], Any]] | None = None, ticks: int = 2000
) -> FetchOutcome:
    """Tick at 10 Hz to the end; at most one skill of the arm or the base is at work at any time."""
    for i in range(ticks):
        (at or {}).get(i, lambda: None)()
        outcome = made.tick(i * NS // 10)
        assert sum(robot.skill(name).active for name in NAMES) <= 1
        if outcome is not None:
            assert not any(robot.skill(name).active for name in NAMES) and robot.skill("rest").goals
            return outcome
    raise AssertionError("it never ends")
