"""How punctual a loop is: compute time and wake-up latency of its last second, deadlines missed since its start."""

from __future__ import annotations

import numpy as np


class LoopTiming:
    """Two rings of samples; the percentiles are renewed once per round, and nothing is allocated.

    Args:
        count: Samples per round, the loop's rate times one second.

    Attributes:
        tick_us_p50, tick_us_p99, wake_us_p99: Of the last full round [us]; 0 before the first.
        overruns: Deadlines missed since the start.
    """

    def __init__(self, count: int) -> None:
        self._tick_us, self._wake_us, self._sorted = np.zeros((3, count))
        self._next = 0
        self.tick_us_p50 = self.tick_us_p99 = self.wake_us_p99 = 0.0
        self.overruns = 0

    def add(self, tick_us: float, wake_us: float) -> None:
        """Take the samples of one tick [us]."""
        self._tick_us[self._next], self._wake_us[self._next] = tick_us, wake_us
        self._next += 1
        if self._next == len(self._tick_us):
            self._next = 0
            self.tick_us_p50, self.tick_us_p99 = self._percentiles(self._tick_us)
            self.wake_us_p99 = self._percentiles(self._wake_us)[1]

    def _percentiles(self, ring: np.ndarray) -> tuple[float, float]:
        self._sorted[:] = ring
        self._sorted.sort()
        count = len(ring)
        return float(self._sorted[count // 2]), float(self._sorted[count * 99 // 100])
