"""One instruction from goal to outcome: ticks the tree, hears what is called out, sees to it that the robot is safe.

    understood → explore / look → approach → recognise → grasp → check → drive → place → confirm → done

Success is what cameras and gripper say (skills `recognise`, `check`, `confirm`); nothing here knows any truth.
"""

from __future__ import annotations

from dataclasses import dataclass

from py_trees.common import Status
from py_trees.display import unicode_tree

from vla_core.types import NS
from vla_navigation.core.fetch import tree
from vla_navigation.core.fetch.progress import (
    BATTERY_LOW,
    CANCELLED,
    LOST,
    SAFETY_STOP,
    SUCCESS,
    TIMEOUT,
    FetchParameters,
    Progress,
)  # fmt: skip
from vla_navigation.core.fetch.skills import RUNNING, Skills
from vla_navigation.core.task.meaning import Meaning
from vla_navigation.core.task.understanding import ANOTHER, DROP, NOT_THIS, RESUME, STOP, Interjection


@dataclass(frozen=True, slots=True)
class FetchOutcome:
    """How a mission ended.

    Attributes:
        code: One of progress.CODES; empty is success.
        message: One sentence.
        stage: The furthest that it came, for scores.
        notes: What failed on the way, in order.
        duration_s: On the ROS clock.
    """

    code: str
    message: str
    stage: str
    notes: tuple[str, ...]
    duration_s: float

    @property
    def success(self) -> bool:
        """Whether it was carried out."""
        return self.code == SUCCESS


class FetchMission:
    """See the module. All times are on the ROS clock [ns]."""

    def __init__(self, meaning: Meaning, skills: Skills, params: FetchParameters, now_ns: int) -> None:
        self.progress = Progress(meaning, params, now_ns)
        self.outcome: FetchOutcome | None = None
        self.paused = False
        self._skills = skills
        self._tree = tree.build(self.progress, skills)
        self._ending: str | None = None
        self._resting = self._at_rest = False

    @property
    def stage(self) -> str:
        """The running step."""
        return "paused" if self.paused and self.outcome is None else self.progress.stage

    def tick(self, now_ns: int) -> FetchOutcome | None:
        """One step; several times a second."""
        if self.outcome is not None:
            return self.outcome
        self.progress.now_ns = now_ns
        knows = self._watch(now_ns)
        if self._ending is not None:
            return self._finish(now_ns)
        if self.paused or not knows:
            self._rest(now_ns)
            return None
        if self._resting and not self._at_rest:
            self._skills.rest.cancel()
        self._resting = False
        for node in self._tree.iterate():
            if isinstance(node, tree.Do):
                node.now_ns = now_ns
        self._tree.tick_once()
        if self.progress.done:
            self.progress.end(SUCCESS)
        self._ending = self.progress.code
        return None

    def call(self, said: Interjection) -> str:
        """Hear what is called out; returns what follows from it, in words."""
        p = self.progress
        if self.outcome is not None:
            return "got a call after the end; expected it before; fix: send the task again"
        if said.call == STOP:
            self.paused = True
            return "stopped; say 'go on' or 'leave it'"
        if said.call == RESUME:
            self.paused = False
            return "going on"
        if said.call == DROP:
            self.cancel()
            return "left"
        assert said.call in (ANOTHER, NOT_THIS)
        if p.holding or p.placed or p.chosen is None:
            return "got 'another one' with none chosen; expected it before the grasp; fix: say 'leave it', ask anew"
        self._interrupt()
        p.refuse()
        return "looking for another one"

    def cancel(self) -> None:
        """End it; the robot comes to rest first."""
        self._ending = self._ending or CANCELLED

    def _watch(self, now_ns: int) -> bool:
        """See to what overrules the task; returns whether the robot knows where it is."""
        p, trouble, pose = self.progress, self._skills.says(), self._skills.pose()
        if pose is not None:
            p.home, p.lost_ns = p.home or pose, None
        elif p.lost_ns is None:
            p.lost_ns = now_ns
        if trouble.stopped:
            p.cause = trouble.stopped
            self._ending = self._ending or SAFETY_STOP
        elif p.lost_ns is not None and now_ns - p.lost_ns >= p.params.lost_s * NS:
            self._ending = self._ending or LOST
        elif p.overdue(now_ns):
            self._ending = self._ending or TIMEOUT
        elif trouble.battery_low and p.leaving is None:
            self._interrupt()
            p.give_up(BATTERY_LOW)
        return pose is not None

    def _finish(self, now_ns: int) -> FetchOutcome | None:
        """A safe robot first, then the result."""
        p = self.progress
        if self._rest(now_ns):
            assert self._ending is not None
            p.code, p.stage = self._ending, "done"
            if p.code == SUCCESS:
                p.furthest = "done"
            seconds = (now_ns - p.start_ns) / NS
            self.outcome = FetchOutcome(p.code, p.message(), p.furthest, tuple(p.notes), seconds)
        return self.outcome

    def _rest(self, now_ns: int) -> bool:
        """Bring the robot to rest; returns whether it is."""
        if not self._resting:
            self._interrupt()
            self._skills.rest.start(None)
            self._resting, self._at_rest = True, False
        if not self._at_rest:
            self._at_rest = self._skills.rest.tick(now_ns).state != RUNNING
        return self._at_rest

    def _interrupt(self) -> None:
        """Cancel whatever runs."""
        if self._tree.status == Status.RUNNING:
            self._tree.stop(Status.INVALID)

    def drawn(self) -> str:
        """The tree as text with the state of every node, for /diagnostics and the live console."""
        text: str = unicode_tree(self._tree, show_status=True)
        return text
