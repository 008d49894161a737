"""Does the robot still get nearer to its goal?"""

from __future__ import annotations


class ProgressChecker:
    """Judges by the way that is left, so that going to and fro doesn't count.

    Args:
        least_m: How much shorter the way must have become ...
        within_s: ... within this time.
    """

    def __init__(self, least_m: float, within_s: float) -> None:
        self._least_m, self._within_s = least_m, within_s
        self._best_m, self._since_s = float("inf"), 0.0

    def reset(self, now_s: float) -> None:
        """Begin anew: whatever way is left now is the longest allowed."""
        self._best_m, self._since_s = float("inf"), now_s

    def check(self, left_m: float, now_s: float) -> bool:
        """Whether there was progress within the last `within_s`, given the way that is left now [m]."""
        if left_m <= self._best_m - self._least_m:
            self._best_m, self._since_s = left_m, now_s
        return now_s - self._since_s <= self._within_s
