"""What a fault is: data, so that all of them can be read on one page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from vla_bringup.faults.rig import Rig

Injection = Callable[["Rig"], AbstractContextManager[None]]
RigName = Literal["line", "clocked", "whole", "demo"]


class Answer(Enum):
    """What the robot does while the fault lasts. In every case the limits of the joints are kept."""

    GOES_ON = "the motion goes on"
    HOLDS = "what was planned is finished, then the arm holds"
    WITHDRAWN = "the motion goes on until its instruction is withdrawn, then the arm comes to rest and holds"
    STOPS = "the arm brakes and waits; nothing is latched"
    LATCHED = "the arm brakes, and the stop is latched"
    ENDS = "the arm stands, and the graph ends with a sentence"
    SAFE = "the arm goes on, holds or is stopped, whatever the processors still allow"


class Recovery(Enum):
    """What it takes to move again."""

    NONE = "none needed"
    AUTOMATIC = "automatic"
    RELEASE = "a person releases the stop"
    GOAL = "a person sends the goal again"
    RESTART = "a person starts the graph again"
    EITHER = "automatic; after a latched stop a person releases it"


@dataclass(frozen=True, slots=True)
class Told:
    """Where an event is reported, once.

    Attributes:
        where: 'diagnostics', 'runner', 'demo' (what a user reads), or the node whose log holds it.
        pattern: Regular expression of its sentence.
    """

    where: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        name: Short and unique.
        injected: What is done to the running graph, in words.
        inject: Does it; leaving the context undoes it, where it can be undone. None: its rig is made so.
        answer: What is expected while it lasts.
        told: Who must report it, each exactly once.
        recovery: What it takes afterwards.
        rig: 'line': simulator, executor, servo and monitor in lockstep, with chunks from the test; 'clocked': the same
            in real time, where somebody's delay is the fault; 'whole': every node, in real time;
            'demo': `vla demo` as a user runs it.
        slow: Not part of `./vla test`.
        stands: The cause stands while the fault lasts, so a release is refused.
        kills: The node that the fault ends for good or for a while.
    """

    name: str
    injected: str
    inject: Injection | None
    answer: Answer
    told: tuple[Told, ...]
    recovery: Recovery
    rig: RigName = "line"
    slow: bool = False
    stands: bool = False
    kills: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen of one fault.

    Attributes:
        seen: In words.
        stopped_after_ms: From the injection to rest, on the robot's clock; None: it went on.
        told: How often each of the fault's reports came.
        recovered: Whether the arm moved again after what the recovery takes.
        violations: Limits that were broken, each with the largest value; empty: the robot was safe throughout.
        repeated: Warnings and errors that somebody told again and again.
    """

    seen: str
    stopped_after_ms: float | None
    told: tuple[int, ...]
    recovered: bool
    violations: tuple[str, ...]
    repeated: tuple[str, ...] = ()
