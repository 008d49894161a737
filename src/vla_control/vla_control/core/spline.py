"""A chunk as one smooth curve: penalised least-squares quintic B-spline (O'Sullivan, 1986).

    min  sum_i |curve(i) - q_i|^2 + s integral |d^3 curve|^2

with time counted in steps. The penalty keeps jerk low where a policy's steps are noisy, above all at both ends; it
lets motion pass up to about s^(-1/6) rad per step. Steps are equidistant, so the solving matrix depends on their
number only and is kept.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.interpolate import BSpline

from vla_control.core.blend import Motion
from vla_control.core.robot import RobotConfig
from vla_core.types import Float64

#: Shares of the limits that the curve itself may use; blends need the rest to meet it from elsewhere.
VELOCITY_SHARE, ACCELERATION_SHARE = 0.88, 0.6
_PER_INTERVAL = 6
_FIRM = 30.0  # weight of a firm step
_END_S = 1e-6  # rounding at the end of the curve


class ChunkSpline:
    """Smooth motion through the steps of a chunk, on the chunk's own clock: step i at i * dt_s.

    Args:
        q_rad: (T,J) joint path, T >= 2.
        dt_s: Time between steps [s].
        low_rad, high_rad: (J,) the curve stays within (its coefficients do).
        steps_per_interval: Chunk steps per B-spline interval.
        smoothing: Weight s of the penalty, >= 0.
        firm: So many first steps are met more closely: the motion has been there, or will.
    """

    def __init__(
        self,
        q_rad: Float64,
        dt_s: float,
        low_rad: Float64,
        high_rad: Float64,
        steps_per_interval: float,
        smoothing: float,
        firm: int = 0,
    ) -> None:
        count = len(q_rad)
        self.duration_s, self._clock = (count - 1) * dt_s, dt_s
        knots, solve, degree = _basis(count, steps_per_interval, smoothing, firm)
        coefficients = np.clip(solve @ q_rad, low_rad, high_rad)
        self._curve = BSpline(knots, coefficients, degree)

    def motion(self, times_s: Float64 | float) -> Motion:
        """Position, velocity and acceleration at `times_s` (N,) or scalar; at rest outside 0..duration_s."""
        return self._derivative(times_s, 0), self._derivative(times_s, 1), self._derivative(times_s, 2)

    def _derivative(self, times_s: Float64 | float, order: int) -> Float64:
        times = np.asarray(times_s, dtype=np.float64)
        held = np.clip(times, 0.0, self.duration_s)
        value: Float64 = self._curve(held / self._clock, order) / self._clock**order
        return value if order == 0 else value * (np.abs(times - held) < _END_S)[..., None]

    def stretch(self, config: RobotConfig, jerk_share: float, from_s: float) -> float:
        """Factor >= 1 by which the part from `from_s` on must be slowed down to keep the robot's limits."""
        samples = max(2, int(_PER_INTERVAL * (self.duration_s - from_s) / self._clock) + 1)
        times = np.linspace(from_s, self.duration_s, samples)
        factor = 1.0
        for order, limit, share in (
            (1, config.velocity_rad_s, VELOCITY_SHARE),
            (2, config.acceleration_rad_s2, ACCELERATION_SHARE),
            (3, config.jerk_rad_s3, jerk_share),
        ):
            ratio = float(np.max(np.abs(self._derivative(times, order)) / (share * limit)))
            factor = max(factor, ratio ** (1.0 / order))
        return factor


@lru_cache(maxsize=256)
def _basis(count: int, steps_per_interval: float, smoothing: float, firm: int) -> tuple[Float64, Float64, int]:
    """Knots and solving matrix (C,T) for `count` steps at 0, 1, 2 ...; at most quintic, fewer degrees for few steps."""
    degree = min(5, count - 1)
    intervals = max(1, min(round((count - 1) / steps_per_interval), count - degree))
    inner = np.linspace(0.0, count - 1.0, intervals + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.full(degree, count - 1.0)])
    basis = BSpline.design_matrix(np.arange(count, dtype=np.float64), knots, degree).toarray()
    energy = np.zeros((intervals + degree, intervals + degree))
    if degree >= 3:
        points, weights = np.polynomial.legendre.leggauss(3)  # exact: the jerk of a quintic is quadratic
        half = 0.5 * np.diff(inner)
        places = (0.5 * (inner[:-1] + inner[1:])[:, None] + half[:, None] * points).ravel()
        jerk = BSpline(knots, np.eye(len(energy)), degree).derivative(3)(places)
        energy = jerk.T @ ((half[:, None] * weights).ravel()[:, None] * jerk)
    weighted = basis.T * np.where(np.arange(count) < firm, _FIRM, 1.0)
    solve = np.linalg.solve(weighted @ basis + smoothing * energy, weighted)
    return knots, solve, degree
