"""Odometry of the last seconds, from which the pose at a scan's last ray is interpolated; nothing is extrapolated."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from vla_core import se2
from vla_core.errors import ScanError
from vla_core.types import NS, Float64

_KEPT_NS = 5 * NS
_FIX = "check the odometry's rate, and the clocks of both drivers"


class OdometryTrack:
    """Poses odom -> base by time.

    Args:
        gap_s: Two poses further apart don't say what was between them [s].
    """

    def __init__(self, gap_s: float) -> None:
        self._gap_ns = round(gap_s * NS)
        self._stamps: list[int] = []
        self._poses: list[Float64] = []

    @property
    def newest_ns(self) -> int:
        """Stamp of the last pose; -1: there is none."""
        return self._stamps[-1] if self._stamps else -1

    def clear(self) -> None:
        """Forget everything."""
        self._stamps.clear()
        self._poses.clear()

    def add(self, stamp_ns: int, pose: Float64) -> None:
        """Take a pose (3,).

        Raises:
            ScanError: it isn't finite, or not newer than the last one; nothing has changed.
        """
        if pose.shape != (3,) or not np.isfinite(pose).all():
            raise ScanError(f"odometry {pose}", "a finite x, y, yaw", "check the odometry")
        if stamp_ns <= self.newest_ns:
            got = f"odometry of {stamp_ns} ns after one of {self.newest_ns} ns"
            raise ScanError(got, "stamps that grow", "check for a second publisher on odom")
        self._stamps.append(stamp_ns)
        self._poses.append(pose.copy())
        old = bisect_left(self._stamps, stamp_ns - _KEPT_NS)
        del self._stamps[:old], self._poses[:old]

    def at(self, stamp_ns: int) -> Float64 | None:
        """The pose (3,) at a time; None: not known yet.

        Raises:
            ScanError: a time before all poses, or within a gap.
        """
        if stamp_ns > self.newest_ns:
            return None
        k = bisect_left(self._stamps, stamp_ns)
        if self._stamps[k] == stamp_ns:
            return self._poses[k].copy()
        if k == 0:
            got = f"a scan {(self._stamps[0] - stamp_ns) / NS:.3f} s before the first odometry"
            raise ScanError(got, "odometry around every scan", _FIX)
        before, after = self._stamps[k - 1], self._stamps[k]
        if after - before > self._gap_ns:
            got = f"a scan within {(after - before) / NS:.3f} s without odometry"
            raise ScanError(got, f"odometry every {self._gap_ns / NS:g} s", _FIX)
        motion = se2.log(se2.between(self._poses[k - 1], self._poses[k]))
        return se2.compose(self._poses[k - 1], se2.exp((stamp_ns - before) / (after - before) * motion))
