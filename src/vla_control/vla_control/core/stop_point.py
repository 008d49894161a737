"""Where each joint comes to rest if it is braked now, in closed form.

A jerk-limited stop takes the acceleration from a to -A (A <= its limit), holds it, and returns it to zero. With j the
jerk, the speed left at zero acceleration is v1 = v + a |a| / (2 j); its sign tells the direction of the brake. Then

    A = min(a_max, sqrt(j v + a^2 / 2)),   t1 = (a + A) / j,   t2 = (v + (a^2 - 2 A^2) / (2 j)) / A,   t3 = A / j

for v1 > 0, mirrored otherwise. It is the stop that `Blender.brake` plans.
"""

from __future__ import annotations

import numba
import numpy as np

from vla_core.types import Float64


@numba.njit(cache=True)
def stop_point(q: Float64, qd: Float64, qdd: Float64, acceleration: Float64, jerk: Float64, out: Float64) -> None:
    """Fill out (J,) [rad] with the resting place of each joint.

    Args:
        q, qd, qdd: Motion now [rad, rad/s, rad/s^2] (J,).
        acceleration, jerk: What the brake may use [rad/s^2, rad/s^3] (J,), > 0.
    """
    for i in range(q.shape[0]):
        v, a, j = qd[i], qdd[i], jerk[i]
        sign = 1.0 if v + a * abs(a) / (2.0 * j) >= 0.0 else -1.0
        v, a = sign * v, sign * a
        peak = min(acceleration[i], np.sqrt(max(0.0, j * v + 0.5 * a * a)))
        peak = max(peak, -a)  # it brakes harder than allowed already
        if peak <= 0.0:
            out[i] = q[i]
            continue
        t1 = (a + peak) / j
        t2 = max(0.0, (v + (a * a - 2.0 * peak * peak) / (2.0 * j)) / peak)
        t3 = peak / j
        x = t1 * (v + t1 * (0.5 * a - t1 * j / 6.0))
        v += t1 * (a - 0.5 * j * t1)
        x += t2 * (v - 0.5 * peak * t2)
        v -= peak * t2
        x += t3 * (v + t3 * (-0.5 * peak + t3 * j / 6.0))
        out[i] = q[i] + sign * x
