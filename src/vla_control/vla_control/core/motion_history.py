"""Where the arm was at a moment that has gone by: commanded, by the plans of then, and measured."""

from __future__ import annotations

from collections import deque

import numpy as np

from vla_control.core.knots import Knots
from vla_core.errors import ChunkError
from vla_core.types import NS, Float64, Int64

_LONGEST_GAP_NS = 100_000_000  # between two measurements, or from the last one, that are interpolated


class MotionHistory:
    """Keeps the plans and measurements of the last `window_s` seconds.

    Args:
        joints, grippers: J, G.
        window_s: How far back anybody asks [s].

    Attributes:
        since_ns: When the arm was held anew; nothing before is known.
    """

    def __init__(self, joints: int, grippers: int, window_s: float) -> None:
        self._joints, self._grippers, self._window_ns = joints, grippers, round(window_s * NS)
        self._plans: deque[tuple[int, Knots]] = deque()  # each with the end of its time
        self._measured: deque[tuple[int, Float64]] = deque()
        self.since_ns = 0

    def restart(self, now_ns: int) -> None:
        """The arm is held anew: what was commanded before is no place to go on from."""
        self._plans.clear()
        self.since_ns = now_ns
        if self._measured and self._measured[-1][0] > now_ns:
            self._measured.clear()  # the clock began again

    def replaced(self, plan: Knots, until_ns: int) -> None:
        """Keep a plan that was followed until `until_ns` and is about to be overwritten."""
        kept = Knots()
        kept.copy(plan)
        self._plans.append((until_ns, kept))
        while self._plans[0][0] < until_ns - self._window_ns:
            self._plans.popleft()

    def measured(self, stamp_ns: int, q: Float64) -> None:
        """The joints were at q (J,) [rad]; stamps that don't grow are dropped."""
        if self._measured and stamp_ns <= self._measured[-1][0]:
            return
        self._measured.append((stamp_ns, np.array(q, dtype=np.float64)))
        while self._measured[0][0] < stamp_ns - self._window_ns:
            self._measured.popleft()

    def commanded_at(self, stamp_ns: int, present: Knots) -> tuple[Float64, Float64]:
        """Commanded joint positions (J,) [rad] and gripper widths (G,) [m] at `stamp_ns`.

        Args:
            present: The plan in force now.

        Raises:
            ChunkError: the arm was reset since.
        """
        if stamp_ns < self.since_ns:
            since_s = (self.since_ns - stamp_ns) * 1e-9
            got = f"deltas from {since_s:.2f} s before the arm was stopped or reset"
            raise ChunkError(got, "deltas from where the arm is held now", "answer a newer observation")
        plan = next((kept for until_ns, kept in self._plans if stamp_ns < until_ns), present)
        q, qd, qdd = np.zeros((3, self._joints))
        plan.sample(stamp_ns, q, qd, qdd)
        return q, plan.width_at(stamp_ns)[: self._grippers].copy()

    def path(self, times_ns: Int64, present: Knots) -> Float64:
        """Commanded joint positions (N,J) [rad] at times (N,); before the last reset, those that it began with."""
        rows = [self.commanded_at(max(int(t), self.since_ns), present)[0] for t in times_ns]
        return np.array(rows).reshape(-1, self._joints)

    def measured_at(self, stamp_ns: int) -> Float64:
        """Measured joint positions (J,) [rad] at `stamp_ns`, linear between two measurements.

        Raises:
            ChunkError: nothing was measured near that time.
        """
        after = next((i for i, (at_ns, _) in enumerate(self._measured) if at_ns >= stamp_ns), None)
        if after is not None and self._measured[after][0] == stamp_ns:
            return self._measured[after][1]
        if after is not None and after > 0:
            (low_ns, low), (high_ns, high) = self._measured[after - 1], self._measured[after]
            if high_ns - low_ns <= _LONGEST_GAP_NS:
                between: Float64 = low + (stamp_ns - low_ns) / (high_ns - low_ns) * (high - low)
                return between
        if after is None and self._measured and stamp_ns - self._measured[-1][0] <= _LONGEST_GAP_NS:
            return self._measured[-1][1]
        raise ChunkError("no measured joint state near the capture stamp", "one within 0.1 s", "check joint_states")
