"""What the hand does: the policy takes and puts down, and whether something is in the hand the fingers tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vla_core.types import NS
from vla_navigation.core.fetch.skills import DONE, FAILED, OTHER, RUNNING, Candidate, Report
from vla_navigation.core.skills.ports import Errand, Gripper, Surroundings, Thing

_FEEL_S = 0.5  # so long the fingers must stay apart
_WAIT_S = 3.0  # for a picture, or for fingers that say something


class Told:
    """An errand that is told in words: skills `grasp`, `place` and `explore`.

    Args:
        errand: Who carries it out.
        words: What it is told for a goal.
    """

    def __init__(self, errand: Errand, words: Callable[[Any], str]) -> None:
        self._errand, self._words = errand, words

    def start(self, goal: Any) -> None:
        """Tell it."""
        self._errand.begin(self._words(goal))

    def tick(self, now_ns: int) -> Report:
        """How it goes."""
        ended = self._errand.ended()
        if ended is None:
            return Report()
        code, message = ended
        return Report(FAILED, code, message) if code else Report(DONE, message=message)

    def cancel(self) -> None:
        """End it."""
        self._errand.cancel()


class Recognise:
    """Skill `recognise`: a picture from near by shows the same object, and it still is what was asked for.

    Args:
        surroundings: Objects.
        fits: Whether the map has an object for what was asked for.
    """

    def __init__(self, surroundings: Surroundings, fits: Callable[[Thing], bool]) -> None:
        self._surroundings, self._fits = surroundings, fits
        self._goal: Candidate | None = None
        self._begin_ns: int | None = None

    def start(self, goal: Candidate) -> None:
        """Look at it."""
        self._goal, self._begin_ns = goal, None

    def tick(self, now_ns: int) -> Report:
        """FAILED with 'other' or 'moved'."""
        assert self._goal is not None
        self._begin_ns = now_ns if self._begin_ns is None else self._begin_ns
        thing = self._surroundings.thing(self._goal.id)
        if thing is not None and thing.seen_ns > self._begin_ns:
            if self._fits(thing):
                return Report(DONE)
            return Report(FAILED, OTHER, f"from near by it is the {thing.name}")
        if now_ns - self._begin_ns > _WAIT_S * NS:
            return Report(FAILED, "moved", "from near by it isn't there")
        return Report(RUNNING, message="looking")

    def cancel(self) -> None:
        """Nothing moves."""


class Check:
    """Skill `check`: fingers that wanted to close and stay apart have something between them.

    Args:
        gripper: What they feel.
        least_m: Pads so far apart hold something.
        open_m: Pads so far apart are open.
    """

    def __init__(self, gripper: Gripper, least_m: float, open_m: float) -> None:
        self._gripper, self._least_m, self._open_m = gripper, least_m, open_m
        self._begin_ns: int | None = None
        self._since_ns: int | None = None

    def start(self, goal: Any) -> None:
        """Feel."""
        self._begin_ns = self._since_ns = None

    def tick(self, now_ns: int) -> Report:
        """FAILED with 'empty'."""
        self._begin_ns = now_ns if self._begin_ns is None else self._begin_ns
        width = self._gripper.width_m()
        holds = bool(np.isfinite(width)) and self._least_m <= width <= self._open_m
        if not holds:
            self._since_ns = None
            late = now_ns - self._begin_ns > _WAIT_S * NS
            return Report(FAILED, "empty", f"the fingers are {width:.3f} m apart") if late else Report()
        self._since_ns = now_ns if self._since_ns is None else self._since_ns
        return Report(DONE) if now_ns - self._since_ns >= _FEEL_S * NS else Report(message="feeling")

    def cancel(self) -> None:
        """Nothing moves."""
