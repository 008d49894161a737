"""The behaviour tree. It says what has to hold, not what comes when, so it finds its way from any state:

    task: ▸ put down? → confirm
          ▸ (holding the thing, at the destination) → check → put it down
                        ▸ holding? ▸ (before the thing) → recognise → grasp → check
                                        ▸ near? ▸ (thing chosen) → approach
                                                    ▸ chosen and confirmed? ▸ found in the map ▸ look again ▸ explore

What fails is told to `Progress.failed`, which says what is tried next; the next tick reads it there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from py_trees.behaviour import Behaviour
from py_trees.common import Status
from py_trees.composites import Selector, Sequence

from vla_navigation.core.fetch.progress import SUCCESS, Progress
from vla_navigation.core.fetch.skills import DONE, FAILED, Skill, Skills
from vla_navigation.core.task.meaning import FETCH, FIND, GO, PLACE, Meaning, Relation


class Do(Behaviour):
    """Runs a skill; a failure is told, an end is noted.

    Args:
        name: Of the step, for people and for `Progress.failed`.
        skill: What is run.
        goal: Of the skill, when it starts.
        done: Notes that it has been done.
    """

    def __init__(
        self, name: str, progress: Progress, skill: Skill, goal: Callable[[], Any], done: Callable[[], None]
    ) -> None:
        super().__init__(name)
        self._progress, self._skill, self._goal, self._done = progress, skill, goal, done
        self.now_ns = 0

    def initialise(self) -> None:
        """Start."""
        self._progress.begin(self.name)
        self._skill.start(self._goal())

    def update(self) -> Status:
        """One tick."""
        report = self._skill.tick(self.now_ns)
        if report.state == DONE:
            self._done()
            return Status.SUCCESS
        if report.state == FAILED:
            self._progress.failed(self.name, report)
            return Status.FAILURE
        return Status.RUNNING

    def terminate(self, new_status: Status) -> None:
        """Cancel what is interrupted."""
        if new_status == Status.INVALID and self.status == Status.RUNNING:
            self._skill.cancel()


class Holds(Behaviour):
    """A condition."""

    def __init__(self, name: str, holds: Callable[[], bool]) -> None:
        super().__init__(name)
        self._holds = holds

    def update(self) -> Status:
        """At once."""
        return Status.SUCCESS if self._holds() else Status.FAILURE


def build(progress: Progress, skills: Skills) -> Behaviour:
    """The tree of one mission."""
    steps, p = _Steps(progress, skills), progress
    tasks: dict[str, Callable[[], Behaviour]] = {
        FETCH: lambda: steps.confirmed(_all("bring it", [
            steps.have(), steps.drive(lambda: p.home), steps.check(), steps.put(lambda: None),
        ])),
        PLACE: lambda: steps.confirmed(_all("place it", [
            steps.have(), steps.place(), steps.drive(lambda: p.place), steps.check(),
            steps.put(lambda: p.meaning.destination),
        ])),
        FIND: lambda: _all("find it", [steps.near(), steps.act("recognise", lambda: p.chosen, steps.ends)]),
        GO: lambda: _all("go there", [steps.place(), steps.drive(lambda: p.place, steps.ends)]),
    }  # fmt: skip
    give_up = _all("give up", [
        Holds("giving up", lambda: p.leaving is not None),
        steps.drive(lambda: p.home, lambda: p.end(p.leaving or SUCCESS)),
    ])  # fmt: skip
    return _any("mission", [give_up, tasks[p.meaning.goal]()])


def nothing() -> None:
    """To be noted."""


class _Steps:
    """Parts of the tree over one Progress; every call makes new nodes."""

    def __init__(self, progress: Progress, skills: Skills) -> None:
        self._p, self._skills = progress, skills

    def act(self, name: str, goal: Callable[[], Any], done: Callable[[], None] = nothing) -> Behaviour:
        """The skill of that name."""
        return Do(name, self._p, getattr(self._skills, name), goal, done)

    def drive(self, goal: Callable[[], Any], done: Callable[[], None] = nothing) -> Behaviour:
        return self.act("drive", goal, done)

    def check(self, done: Callable[[], None] = nothing) -> Behaviour:
        """It is in the hand, also after a drive: what isn't can't be put down."""
        return self.act("check", lambda: self._p.meaning.thing, done)

    def put(self, goal: Callable[[], Any]) -> Behaviour:
        return self.act("place", goal, self._lets_go)

    def confirmed(self, task: Behaviour) -> Behaviour:
        """The task is done when it is seen to be."""
        p = self._p
        seen = _all("see it there", [
            Holds("put down", lambda: p.placed), self.act("confirm", lambda: p.chosen, self.ends),
        ])  # fmt: skip
        return _any("carry out", [seen, task])

    def ends(self) -> None:
        self._p.done = True

    def _lets_go(self) -> None:
        self._p.placed, self._p.holding = True, False

    def have(self) -> Behaviour:
        """The thing is in the hand."""
        p = self._p
        return _any("have it", [
            Holds("holding", lambda: p.holding),
            _all("take it", [
                self.near(),
                self.act("recognise", lambda: p.chosen),
                self.act("grasp", lambda: p.chosen),
                self.check(self._holds),
            ]),
        ])  # fmt: skip

    def near(self) -> Behaviour:
        """The robot stands before it."""
        p = self._p
        return _any("near", [
            Holds("standing before it", lambda: p.near),
            _all("come near", [self.known(), self.act("approach", lambda: (p.chosen, p.poses), self._stands)]),
        ])  # fmt: skip

    def known(self) -> Behaviour:
        """It is chosen, and seen from two views."""
        p = self._p
        return _any("thing known", [
            Holds("confirmed", self._look_up),
            _all("look again", [
                Holds("candidate", lambda: p.chosen is not None),
                self.act("look", lambda: p.chosen, p.looked),
                Holds("confirmed now", self._look_up),
            ]),
            _all("search", [self.act("explore", lambda: p.meaning), Holds("found", self._look_up)]),
        ])  # fmt: skip

    def place(self) -> Behaviour:
        """Where it is to go is known."""
        return _any("place known", [
            Holds("place in the map", self._look_up_place),
            _all("search", [
                self.act("explore", lambda: Meaning(FIND, self._place.anchor)),
                Holds("place found", self._look_up_place),
            ]),
        ])  # fmt: skip

    def _look_up(self) -> bool:
        p = self._p
        p.choose(self._skills.find(p.meaning, p.unwanted()))
        return p.chosen is not None and p.chosen.confirmed

    def _look_up_place(self) -> bool:
        self._p.place = self._skills.find_place(self._place)
        return self._p.place is not None

    @property
    def _place(self) -> Relation:
        assert isinstance(self._p.meaning.destination, Relation)
        return self._p.meaning.destination

    def _stands(self) -> None:
        self._p.near = True

    def _holds(self) -> None:
        self._p.holding = True


def _all(name: str, children: list[Behaviour]) -> Behaviour:
    """One after the other; what was done isn't asked again until one fails."""
    return Sequence(name, memory=True, children=children)


def _any(name: str, children: list[Behaviour]) -> Behaviour:
    """The first that works; asked anew at every tick."""
    return Selector(name, memory=False, children=children)
