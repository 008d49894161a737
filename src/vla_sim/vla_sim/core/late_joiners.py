"""When to repeat a best-effort message for those who subscribed after it, while the world stands still."""

from __future__ import annotations

_SETTLE_S = 0.3  # a new subscription takes a moment before messages reach it [s]


class LateJoiners:
    """Watches the number of subscriptions of what a process publishes. Times are on the monotonic clock [s]."""

    def __init__(self) -> None:
        self._listeners = 0
        self._changed_s = self._published_s = float("-inf")

    def published(self, now_s: float) -> None:
        """Note that something new went out."""
        self._published_s = now_s

    def waiting(self, listeners: int, now_s: float) -> bool:
        """Whether someone joined after the newest message and nothing new follows: then repeat, call `published`."""
        if listeners > self._listeners:
            self._changed_s = now_s
        self._listeners = listeners
        due_s = self._changed_s + _SETTLE_S
        return self._published_s < due_s <= now_s and now_s - self._published_s >= _SETTLE_S
