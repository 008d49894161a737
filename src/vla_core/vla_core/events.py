"""What is news among reports that repeat: one event is told once, however long it lasts."""

from __future__ import annotations


class Events:
    """Reports by key; those less than `quiet_s` apart belong to one event.

    Args:
        quiet_s: Without a report for longer the event is over, and the next report is another one [s].
    """

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._last_s: dict[str, float] = {}

    def begins(self, key: str, now_s: float) -> bool:
        """Take a report; True if it is the first of its event.

        Args:
            key: What the report is about.
            now_s: Now [s], on any clock that doesn't go back.
        """
        last_s = self._last_s.get(key)
        self._last_s[key] = now_s
        return last_s is None or now_s - last_s > self._quiet_s
