"""What a skill found out counts once the map has told it: a search that has ended must not be begun again meanwhile."""

from __future__ import annotations

from typing import Any, Protocol

from vla_navigation.core.fetch.skills import DONE, Report, Skill


class Questions(Protocol):
    """Questions to the map that are answered in a while."""

    def renew(self) -> None:
        """Answers count from now on only if they were asked for after this."""

    def renewed(self) -> bool:
        """Whether every question has such an answer."""


class Informed:
    """A skill that is done when the map has been asked again after its end.

    Args:
        skill: Which.
        questions: Those of the mission.
    """

    def __init__(self, skill: Skill, questions: Questions) -> None:
        self._skill, self._questions = skill, questions
        self._ended: Report | None = None

    def start(self, goal: Any) -> None:
        """Begin."""
        self._ended = None
        self._skill.start(goal)

    def tick(self, now_ns: int) -> Report:
        """As the skill's; its end waits for the map's answers."""
        if self._ended is None:
            report = self._skill.tick(now_ns)
            if report.state != DONE:
                return report
            self._ended = report
            self._questions.renew()
        return self._ended if self._questions.renewed() else Report(message="asking the map")

    def cancel(self) -> None:
        """Let go; what has ended already isn't cancelled again."""
        if self._ended is None:
            self._skill.cancel()
