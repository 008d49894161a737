"""Thinning a stream to a rate by its stamps."""

from __future__ import annotations


class RateGate:
    """Lets stamps pass at no more than a mean rate, without beating against a source of nearly that rate.

    The next stamp is due one period after the last was due, so a 30 Hz stream is thinned to exactly 20 Hz (two of
    three) and a 20 Hz stream with a few milliseconds of jitter passes whole. Only stamps count, never arrival times:
    the same stamps always give the same answer.

    Args:
        period_ns: Mean time between two stamps that pass [ns], > 0.
        set_back_ns: A stamp earlier than the last one by more than this means that the clock was set back; it passes.
    """

    _EARLY = 0.25  # a stamp may come this part of a period too early

    def __init__(self, period_ns: int, set_back_ns: int) -> None:
        self._period_ns, self._set_back_ns = period_ns, set_back_ns
        self._last_ns: int | None = None
        self._due_ns = 0

    def passes(self, stamp_ns: int) -> bool:
        """Whether the sample of this stamp is due; stamps come in rising order."""
        if self._last_ns is None or stamp_ns < self._last_ns - self._set_back_ns:
            self._due_ns = stamp_ns
        if stamp_ns < self._due_ns - int(self._EARLY * self._period_ns):
            return False
        self._last_ns = stamp_ns
        # After a gap the beat starts anew from half a period before this stamp, so no burst makes up for the gap.
        self._due_ns = max(self._due_ns + self._period_ns, stamp_ns + self._period_ns // 2)
        return True
