"""Equidistant knots of a joint trajectory (a PLAN record) and their quintic Hermite interpolation.

The interpolant is C2: it meets position, velocity and acceleration at every knot. Integrating by parts three times
shows that its jerk on an interval is the least-squares quadratic approximation of the true jerk there. The norm of
that projection is 2.18 (largest integral of |K(1,y)| with K(1,y) = (7.5 y^2 + 3 y - 1.5) / 2 on -1..1), so a motion
whose jerk stays below JERK_SHARE of the limit keeps the limit between its knots, wherever its jerk switches.
"""

from __future__ import annotations

import numba
import numpy as np

from vla_core.records import MAX_KNOTS, PLAN
from vla_core.types import Float64

JERK_SHARE = 1.0 / 2.18


@numba.njit(cache=True)
def sample_knots(
    start_ns: int, knot_dt_s: float, count: int, knots_q: Float64, knots_qd: Float64, knots_qdd: Float64,
    stamp_ns: int, joints: int, q: Float64, qd: Float64, qdd: Float64,
) -> float:  # fmt: skip
    """Fill q, qd, qdd [rad, rad/s, rad/s^2] (J,) with the trajectory at `stamp_ns`; before and after: at rest.

    Args:
        start_ns: Time of knot 0. knot_dt_s: Time between knots [s]. count: Number of knots, >= 1.
        knots_q, knots_qd, knots_qdd: float64 (K, >=J).

    Returns:
        Time from `stamp_ns` to the last knot [s], negative once the motion is over.
    """
    end_s = (count - 1) * knot_dt_s
    t = (stamp_ns - start_ns) * 1e-9
    if t >= end_s or t < 0.0:
        k = count - 1 if t >= end_s else 0
        for i in range(joints):
            q[i] = knots_q[k, i]
            qd[i] = knots_qd[k, i] if t == end_s else 0.0
            qdd[i] = knots_qdd[k, i] if t == end_s else 0.0
        return end_s - t
    k = min(int(t / knot_dt_s), count - 2)
    h = knot_dt_s
    u = (t - k * h) / h
    for i in range(joints):
        p0 = knots_q[k, i]
        v0 = knots_qd[k, i] * h
        a0 = knots_qdd[k, i] * h * h
        d = knots_q[k + 1, i] - p0
        v1 = knots_qd[k + 1, i] * h
        a1 = knots_qdd[k + 1, i] * h * h
        c2 = 0.5 * a0
        c3 = 10.0 * d - 6.0 * v0 - 4.0 * v1 - 1.5 * a0 + 0.5 * a1
        c4 = -15.0 * d + 8.0 * v0 + 7.0 * v1 + 1.5 * a0 - a1
        c5 = 6.0 * d - 3.0 * (v0 + v1) - 0.5 * (a0 - a1)
        q[i] = p0 + u * (v0 + u * (c2 + u * (c3 + u * (c4 + u * c5))))
        qd[i] = (v0 + u * (2.0 * c2 + u * (3.0 * c3 + u * (4.0 * c4 + u * 5.0 * c5)))) / h
        qdd[i] = (2.0 * c2 + u * (6.0 * c3 + u * (12.0 * c4 + u * 20.0 * c5))) / (h * h)
    return end_s - t


@numba.njit(cache=True)
def extremes(
    knot_dt_s: float, count: int, knots_q: Float64, knots_qd: Float64, knots_qdd: Float64, joints: int, samples: int
) -> Float64:
    """Ranges of the interpolant, from `samples` points per interval.

    Returns:
        float64 (5,J): smallest and largest position, largest absolute velocity, acceleration and jerk.
    """
    out = np.zeros((5, joints))
    h = knot_dt_s
    for i in range(joints):
        out[0, i] = out[1, i] = knots_q[0, i]
        for k in range(count - 1):
            p0 = knots_q[k, i]
            v0 = knots_qd[k, i] * h
            a0 = knots_qdd[k, i] * h * h
            d = knots_q[k + 1, i] - p0
            v1 = knots_qd[k + 1, i] * h
            a1 = knots_qdd[k + 1, i] * h * h
            c2 = 0.5 * a0
            c3 = 10.0 * d - 6.0 * v0 - 4.0 * v1 - 1.5 * a0 + 0.5 * a1
            c4 = -15.0 * d + 8.0 * v0 + 7.0 * v1 + 1.5 * a0 - a1
            c5 = 6.0 * d - 3.0 * (v0 + v1) - 0.5 * (a0 - a1)
            for s in range(samples):
                u = s / (samples - 1.0)
                p = p0 + u * (v0 + u * (c2 + u * (c3 + u * (c4 + u * c5))))
                v = (v0 + u * (2.0 * c2 + u * (3.0 * c3 + u * (4.0 * c4 + u * 5.0 * c5)))) / h
                a = (2.0 * c2 + u * (6.0 * c3 + u * (12.0 * c4 + u * 20.0 * c5))) / (h * h)
                j = (6.0 * c3 + u * (24.0 * c4 + u * 60.0 * c5)) / (h * h * h)
                out[0, i] = min(out[0, i], p)
                out[1, i] = max(out[1, i], p)
                out[2, i] = max(out[2, i], abs(v))
                out[3, i] = max(out[3, i], abs(a))
                out[4, i] = max(out[4, i], abs(j))
    return out


class Knots:
    """Named views into one PLAN record (shape (1,)), made once so that a tick looks no field up."""

    def __init__(self, record: np.ndarray | None = None) -> None:
        self.record = np.zeros(1, PLAN) if record is None else record
        row = self.record[0]
        self.q: Float64 = row["q"]
        self.qd: Float64 = row["qd"]
        self.qdd: Float64 = row["qdd"]
        self.gripper_width: Float64 = row["gripper_width"]
        self.gripper_force: Float64 = row["gripper_force"]
        self.sequence = self.record["sequence"]
        self.answers_ns = self.record["answers_ns"]
        self.start_ns = self.record["start_ns"]
        self.fresh_until_ns = self.record["fresh_until_ns"]
        self.knot_dt_s = self.record["knot_dt_s"]
        self.count = self.record["count"]

    def clear(self) -> None:
        """No knots, no identity."""
        for field in (self.sequence, self.answers_ns, self.start_ns, self.fresh_until_ns, self.count):
            field[0] = 0

    def copy(self, other: Knots) -> None:
        """Take over the knots in use and the identity of another trajectory."""
        n = int(other.count[0])
        self.q[:n], self.qd[:n], self.qdd[:n] = other.q[:n], other.qd[:n], other.qdd[:n]
        self.gripper_width[:n], self.gripper_force[:n] = other.gripper_width[:n], other.gripper_force[:n]
        self.sequence[0], self.answers_ns[0] = other.sequence[0], other.answers_ns[0]
        self.start_ns[0], self.fresh_until_ns[0] = other.start_ns[0], other.fresh_until_ns[0]
        self.knot_dt_s[0], self.count[0] = other.knot_dt_s[0], n

    @property
    def end_ns(self) -> int:
        """Time of the last knot [ns]."""
        return int(self.start_ns[0]) + round((int(self.count[0]) - 1) * float(self.knot_dt_s[0]) * 1e9)

    def sample(self, stamp_ns: int, q: Float64, qd: Float64, qdd: Float64) -> float:
        """Fill q, qd, qdd (J,) with the trajectory at `stamp_ns`; returns the time left [s]."""
        left_s: float = sample_knots(
            self.start_ns[0],
            self.knot_dt_s[0],
            self.count[0],
            self.q,
            self.qd,
            self.qdd,
            stamp_ns,
            q.shape[0],
            q,
            qd,
            qdd,
        )
        return left_s

    def width_at(self, stamp_ns: int) -> Float64:
        """Gripper widths [m] (MAX_GRIPPERS,) at `stamp_ns`, zero-order hold; a view of the record."""
        row: Float64 = self.gripper_width[self._step(stamp_ns)]
        return row

    def force_at(self, stamp_ns: int) -> Float64:
        """What the grippers may use [N] (MAX_GRIPPERS,) at `stamp_ns`, zero-order hold; a view of the record."""
        row: Float64 = self.gripper_force[self._step(stamp_ns)]
        return row

    def _step(self, stamp_ns: int) -> int:
        k = int((stamp_ns - int(self.start_ns[0])) * 1e-9 / float(self.knot_dt_s[0]) + 1e-9)
        return min(max(k, 0), int(self.count[0]) - 1)

    def store(
        self, q: Float64, qd: Float64, qdd: Float64, width_m: Float64, force_n: Float64, start_ns: int, knot_dt_s: float
    ) -> None:
        """Write a trajectory of N <= MAX_KNOTS knots.

        Args:
            q, qd, qdd: float64 (N,J). width_m, force_n: float64 (N,G).
        """
        n, joints = q.shape
        assert 1 <= n <= MAX_KNOTS
        self.q[:n, :joints], self.qd[:n, :joints], self.qdd[:n, :joints] = q, qd, qdd
        self.gripper_width[:n, : width_m.shape[1]] = width_m
        self.gripper_force[:n, : force_n.shape[1]] = force_n
        self.start_ns[0], self.knot_dt_s[0], self.count[0] = start_ns, knot_dt_s, n
