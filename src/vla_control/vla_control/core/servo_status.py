"""The servo's own STATUS record: the tick works in views of its fields, so that publishing is one copy."""

from __future__ import annotations

import time

import numba
import numpy as np

from vla_core.records import LIMITS, STATUS
from vla_core.types import Float64

_RING = 1000


@numba.njit(cache=True)
def take_if_finite(q_in: Float64, qd_in: Float64, width_in: Float64, q: Float64, qd: Float64, width: Float64) -> bool:
    """Copy q_in, qd_in to q, qd (J,) and width_in to width (G,) when all numbers are finite; returns whether."""
    for i in range(q.shape[0]):
        if not (np.isfinite(q_in[i]) and np.isfinite(qd_in[i])):
            return False
    for g in range(width.shape[0]):
        if not np.isfinite(width_in[g]):
            return False
    for g in range(width.shape[0]):
        width[g] = width_in[g]
    for i in range(q.shape[0]):
        q[i] = q_in[i]
        qd[i] = qd_in[i]
    return True


@numba.njit(cache=True)
def largest(errors: Float64, wrenches: Float64, error: Float64, wrench: Float64) -> float:
    """Fill error (2,) [m, rad] with the largest of errors (A,2), wrench (6,) with that of the largest force of (A,6).

    Returns:
        Square of this force [N^2].
    """
    hardest, most = 0, -1.0
    for arm in range(errors.shape[0]):
        for i in range(2):
            error[i] = errors[arm, i] if arm == 0 else max(error[i], errors[arm, i])
        force = wrenches[arm, 0] ** 2 + wrenches[arm, 1] ** 2 + wrenches[arm, 2] ** 2
        if force > most:
            hardest, most = arm, force
    for i in range(6):
        wrench[i] = wrenches[hardest, i]
    return most


class ServoStatus:
    """What the servo reports.

    Attributes:
        q, qd, q_target, qd_target, qdd_target, tau: Views (J,) that the tick reads and writes.
        gripper_width, gripper_target: Views (G,).
        tool_pose: View (7,). wrench: View (6,).
    """

    def __init__(self, joints: int, grippers: int) -> None:
        self._record = np.zeros(1, STATUS)
        row = self._record[0]
        self.q: Float64 = row["q"][:joints]
        self.qd: Float64 = row["qd"][:joints]
        self.q_target: Float64 = row["q_target"][:joints]
        self.qd_target: Float64 = row["qd_target"][:joints]
        self.qdd_target: Float64 = row["qdd_target"][:joints]
        self.tau: Float64 = row["tau"][:joints]
        self.gripper_width: Float64 = row["gripper_width"][:grippers]
        self.gripper_target: Float64 = row["gripper_target"][:grippers]
        self.tool_pose: Float64 = row["tool_pose"]
        self.wrench: Float64 = row["wrench"]
        self._counts = row["limit_counts"][: len(LIMITS)]
        self._field = {name: self._record[name] for name in STATUS.names or ()}
        self._bits = 1 << np.arange(len(LIMITS), dtype=np.int64)
        self._ring, self._sorted = np.zeros(_RING), np.zeros(_RING)
        self._ticks = 0

    def reset(self) -> None:
        """Zero everything, counters and extremes included."""
        self._record[:] = np.zeros(1, STATUS)
        self._ticks = 0

    @property
    def ticks(self) -> int:
        """Ticks measured since the last reset."""
        return self._ticks

    def set_motion(self, mode: int, errors: Float64, jerk_rad_s3: float) -> None:
        """Mode, tool error (2,) [m, rad] and jerk of the target of this tick."""
        field = self._field
        field["mode"][0] = mode
        field["error_m"][0], field["error_rad"][0] = errors
        if jerk_rad_s3 > field["max_jerk"][0]:
            field["max_jerk"][0] = jerk_rad_s3

    def set_supply(self, starved: bool, period_s: float, answers_ns: int) -> None:
        """Whether the plan has run dry, and which observation the motion answers; a new one is timed."""
        field = self._field
        field["starved"][0] = starved
        if starved:
            field["starved_s"][0] += period_s
        if answers_ns != field["answers_ns"][0]:
            field["answers_ns"][0], field["applied_monotonic_ns"][0] = answers_ns, time.monotonic_ns()

    def set_compliance(self, joint_share: float, stiffness: float) -> None:
        """Share of joint impedance and factor on the stiffness, both as they are now."""
        self._field["joint_share"][0], self._field["stiffness"][0] = joint_share, stiffness

    def publish(self, status: np.ndarray, tick: int, stamp_ns: int, acting: int) -> None:
        """Count the limits of this tick and copy everything but the caller's own fields into `status`."""
        field = self._field
        field["tick"][0], field["stamp_ns"][0], field["monotonic_ns"][0] = tick, stamp_ns, time.monotonic_ns()
        field["limits_acting"][0] = acting
        if acting:
            self._counts += ((acting & self._bits) > 0).astype(np.uint64)
        field["wake_us_p99"][0], field["overruns"][0] = status["wake_us_p99"][0], status["overruns"][0]
        status[:] = self._record

    def measure(self, tick_us: float) -> None:
        """Keep the compute time of the last 1000 ticks; percentiles once per round of the ring."""
        slot = self._ticks % _RING
        self._ring[slot] = tick_us
        self._ticks += 1
        if slot == _RING - 1:
            self._sorted[:] = self._ring
            self._sorted.sort()
            self._field["tick_us_p50"][0] = self._sorted[_RING // 2]
            self._field["tick_us_p99"][0] = self._sorted[_RING * 99 // 100]
