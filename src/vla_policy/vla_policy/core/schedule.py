"""Which observations are answered: a rule on capture stamps alone, so that a run in lockstep repeats itself."""

from __future__ import annotations

from vla_core.types import NS, Observation

TOLERANCE_NS = NS // 200  # a camera's jitter must not cost a whole frame


class ReplanSchedule:
    """Answer the first observation of every instruction, then one every `period_s`.

    Stamps that run backwards (a world that was reset) start anew.
    """

    def __init__(self, period_s: float) -> None:
        self._period_ns = round(period_s * NS) - TOLERANCE_NS
        self._instruction = ""
        self._answered_ns: int | None = None

    def due(self, observation: Observation) -> bool:
        """Whether this observation is to be answered; `answered` must follow when it was."""
        if observation.instruction != self._instruction:
            self._instruction, self._answered_ns = observation.instruction, None
        if self._answered_ns is None or observation.stamp_ns < self._answered_ns:
            return True
        return observation.stamp_ns - self._answered_ns >= self._period_ns

    def answered(self, observation: Observation) -> None:
        """Count the next period from here."""
        self._instruction, self._answered_ns = observation.instruction, observation.stamp_ns
