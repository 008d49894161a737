"""What the mission asks of the robot: skills that take a while, and questions that are answered at once.

A skill is started with a goal, ticked until it ends, and cancelled by whoever needs the robot for something else. The
node puts action clients behind them (Explore, NavigateToPose, ExecuteInstruction …); tests put scripts behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from vla_navigation.core.task.meaning import Meaning, Relation

RUNNING, DONE, FAILED = ("running", "done", "failed")
#: Code of a thing that turned out to be another one.
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Report:
    """How a skill is going.

    Attributes:
        state: RUNNING, DONE or FAILED.
        code: Why it failed, short and stable.
        message: One sentence for people.
    """

    state: str = RUNNING
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object of the semantic map that may be what is meant.

    Attributes:
        id: Of the object.
        name: As the map calls it.
        position_m: (x, y, z) in the map frame.
        confirmed: Seen well enough from two views; otherwise it is to be looked at again.
    """

    id: int
    name: str
    position_m: tuple[float, float, float]
    confirmed: bool


class Skill(Protocol):
    """Something that takes a while."""

    def start(self, goal: Any) -> None:
        """Begin; never twice without `cancel` or an end between."""

    def tick(self, now_ns: int) -> Report:
        """How it is going."""

    def cancel(self) -> None:
        """Let go at once, safely."""


class Skills(Protocol):
    """Of one robot.

    Attributes:
        explore: Goal a Meaning: look where it may be; DONE as soon as the map has a new candidate for it, FAILED with
            'explored' when nothing that can be reached is left unseen.
        look: Goal a Candidate: see it from another side.
        approach: Goal (Candidate, attempt): stand where the arm reaches it; another attempt is another pose. FAILED
            with 'unreachable' when there is no other.
        recognise: Goal a Candidate: see it from near by; FAILED with 'moved' when it isn't there any more, 'other' when
            it is something else.
        grasp: Goal a Candidate: the policy takes it.
        check: Goal a Noun: whether it is in the hand, by the cameras and the gripper.
        place: Goal a Relation: the policy puts down what is held; None: hands it over.
        confirm: Goal a Candidate that was put down: whether the cameras see it there; FAILED with 'unseen'.
        drive: Goal (x, y, yaw) in the map frame, or a Candidate to stand before.
        rest: Goal None: arm and base come to a safe rest.
    """

    explore: Skill
    look: Skill
    approach: Skill
    recognise: Skill
    grasp: Skill
    check: Skill
    place: Skill
    confirm: Skill
    drive: Skill
    rest: Skill

    def find(self, meaning: Meaning, excluded: frozenset[int]) -> Candidate | None:
        """The likeliest object for `meaning.thing` where `meaning.where` holds, but none of `excluded`."""

    def find_place(self, destination: Relation) -> Candidate | None:
        """Where something is to be put."""

    def pose(self) -> tuple[float, float, float] | None:
        """(x, y, yaw) in the map frame [m, rad]; None while the robot doesn't know where it is."""

    def says(self) -> Trouble:
        """What is wrong with the robot."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What overrules the mission.

    Attributes:
        battery_low: It must go home now.
        stopped: Cause of a latched safety stop, or empty.
    """

    battery_low: bool = False
    stopped: str = ""
