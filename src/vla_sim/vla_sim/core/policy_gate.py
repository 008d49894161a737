"""At which frames a lockstep world waits for the policy's answer."""

from __future__ import annotations

_NEVER = -(1 << 62)


class PolicyGate:
    """Due is the first frame after an instruction arrives, then one every `replan_period_ns`.

    The policy answers by the same rule, counted from the frame that it answered last, so both agree on the frames
    however fast either runs. A policy that stays silent is waited for once; then the world runs on until its next
    answer.

    Args:
        replan_period_ns: Time between two frames that are answered [ns, ROS clock].
    """

    def __init__(self, replan_period_ns: int) -> None:
        self._period_ns = replan_period_ns
        self._instruction = ""
        self._since_ns = _NEVER
        self._lost_after_ns: int | None = None

    @property
    def instructed(self) -> bool:
        """Whether there is something to do."""
        return bool(self._instruction)

    def instruct(self, text: str, now_ns: int) -> None:
        """Take the newest instruction; empty: none."""
        if text != self._instruction:
            self._instruction, self._since_ns, self._lost_after_ns = text, now_ns, None

    def due(self, frame_ns: int, answers_ns: int) -> bool:
        """Whether the frame stamped `frame_ns` has to be answered before the world goes on.

        Args:
            frame_ns: Stamp of the newest frame.
            answers_ns: Stamp of the newest frame that has been answered; -1: none.
        """
        if not self._instruction or frame_ns <= self._since_ns:
            return False
        if self._lost_after_ns is not None and answers_ns <= self._lost_after_ns:
            return False
        self._lost_after_ns = None
        return answers_ns < 0 or frame_ns >= answers_ns + self._period_ns

    def give_up(self, answers_ns: int) -> None:
        """Stop waiting until an answer newer than `answers_ns` comes."""
        self._lost_after_ns = answers_ns
