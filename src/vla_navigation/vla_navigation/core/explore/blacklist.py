"""Places that were tried in vain: passed over for a while that doubles, and given up after some attempts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.types import Float64

RADIUS_M = 0.3  # places nearer to each other are one


@dataclass(slots=True)
class _Entry:
    place: Float64
    attempts: int
    until_s: float


class Blacklist:
    """Expiring blacklist.

    Args:
        first_s: How long a place is passed over after the first attempt; each further one doubles it.
        max_attempts: After so many it is given up.
    """

    def __init__(self, first_s: float, max_attempts: int) -> None:
        self._first_s, self._max_attempts = first_s, max_attempts
        self._entries: list[_Entry] = []

    def add(self, place: Float64, now_s: float) -> None:
        """Another attempt at a place (2,) was in vain."""
        entry = self._find(place)
        if entry is None:
            entry = _Entry(place.copy(), 0, now_s)
            self._entries.append(entry)
        entry.attempts += 1
        entry.until_s = now_s + self._first_s * 2.0 ** (entry.attempts - 1)

    def free_at_s(self, place: Float64, now_s: float) -> float:
        """When a place may be tried: now or before, later, or never (inf)."""
        entry = self._find(place)
        if entry is None:
            return now_s
        return np.inf if entry.attempts >= self._max_attempts else entry.until_s

    def barred(self, now_s: float) -> tuple[Float64, float]:
        """Places (N,2) that may not be tried now, and when the first of them may be again; inf: none ever."""
        shut = [entry for entry in self._entries if self.free_at_s(entry.place, now_s) > now_s]
        first_s = min((self.free_at_s(entry.place, now_s) for entry in shut), default=np.inf)
        return np.array([entry.place for entry in shut]).reshape(-1, 2), first_s

    def _find(self, place: Float64) -> _Entry | None:
        away = [float(np.hypot(*(entry.place - place))) for entry in self._entries]
        k = int(np.argmin(away)) if away else 0
        return self._entries[k] if away and away[k] <= RADIUS_M else None
