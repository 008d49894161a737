"""Compliance for an arm that only takes joint positions: it gives way to the external wrench, compiled.

    M x'' + D x' + K x = dead(F),   D = 2 zeta sqrt(K M),   q_command = q_t + J' (J J' + k^2 I)^-1 x

with x the tool's offset from its target (translation and rotation vector, base frame), F the estimated external wrench
and `dead` what of it exceeds the dead band (Hogan, "Impedance control", 1985). The estimate lags
by 1/w of the observer, so against a stiff wall the offset needs more than critical damping: with wall stiffness K_e,
Hurwitz asks for (w M + D) (w D + K) > w M (K + K_e).
"""

from __future__ import annotations

import numba
import numpy as np

from vla_control.core.compiled_math import cholesky, cholesky_solve, clamp_norm
from vla_control.core.impedance import ERROR_LIN, ERROR_ROT, K_LIN, K_ROT, PERIOD
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotConfig
from vla_core.records import LIMITS
from vla_core.types import Float64

_ERROR = 1 << LIMITS.index("error_clamp")
_POSITION = 1 << LIMITS.index("joint_position")
_VELOCITY = 1 << LIMITS.index("joint_velocity")
_LENGTH_M = 0.2  # lever that makes rotations comparable with translations
_DAMPING_M = 0.02  # k: bounds the joints' offset near singularities


class Admittance:
    """The offset of one arm of a robot; `advance` allocates nothing.

    Args:
        config: Joint limits.
        params: Virtual inertia, damping, dead bands and period.
        joints: Which of the robot's joints are the arm's, all where it is the only one.
        q: Where the positions go, with room for all the robot's joints; None: an array of its own.

    Attributes:
        q: Joint positions for the arm's own joints (J,) [rad].
        offset: x (6,) [m, rad].
    """

    def __init__(
        self, config: RobotConfig, params: ServoParameters, joints: slice = slice(None), q: Float64 | None = None
    ) -> None:
        p = params
        self._law = np.array(
            [
                p.admittance_mass_kg, p.admittance_inertia_kg_m2, p.admittance_damping_ratio,
                p.admittance_deadband_n, p.admittance_deadband_nm,
            ]
        )  # fmt: skip
        limits = np.array([config.position_min_rad, config.position_max_rad, config.velocity_rad_s])
        self._limits = np.ascontiguousarray(limits[:, joints])
        self._first = joints.start or 0
        self.q = (np.zeros(len(config.joints)) if q is None else q)[joints]
        self.offset, self._speed = np.zeros((2, 6))

    def reset(self, q: Float64) -> None:
        """No offset, at joint positions q (J,) [rad]."""
        self.q[:], self.offset[:], self._speed[:] = q, 0.0, 0.0

    def advance(self, q_t: Float64, jacobian: Float64, wrench: Float64, gain: Float64) -> int:
        """One tick: fill `q`.

        Args:
            q_t: Target (J,) [rad]. jacobian: Of the tool there, base axes, with columns for all the robot's joints.
            wrench: External force and torque at the tool (6,) [N, N*m], base frame; zero: the offset relaxes.
            gain: Of `Compliance`.

        Returns:
            Bits of the limits that acted.
        """
        acting = give_way(
            q_t, self._first, jacobian, wrench, gain, self._law, self._limits, self.offset, self._speed, self.q
        )
        return int(acting)


@numba.njit(cache=True)
def give_way(
    q_t: Float64, first: int, jacobian: Float64, wrench: Float64, gain: Float64, law: Float64, limits: Float64,
    x: Float64, v: Float64, q: Float64,
) -> int:  # fmt: skip
    """Advance offset x (6,), its speed v (6,) and the joint positions q (J,) by one period; see `Admittance`."""
    acting, n, dt = 0, q_t.shape[0], gain[PERIOD]
    for start in (0, 3):
        inertia, stiffness = law[start // 3], gain[K_LIN] if start == 0 else gain[K_ROT]
        damping = 2.0 * law[2] * np.sqrt(stiffness * inertia)
        size = np.sqrt(wrench[start] ** 2 + wrench[start + 1] ** 2 + wrench[start + 2] ** 2)
        felt = max(0.0, size - law[3 + start // 3]) / size if size > 0.0 else 0.0
        for r in range(start, start + 3):  # implicit in D and K: stable for any gains
            force = felt * wrench[r] - stiffness * x[r]
            v[r] = (inertia * v[r] + dt * force) / (inertia + dt * damping + dt * dt * stiffness)
            x[r] += dt * v[r]
        if clamp_norm(x, start, gain[ERROR_LIN] if start == 0 else gain[ERROR_ROT]):
            acting |= _ERROR
            v[start : start + 3] = 0.0
    a, b = np.empty((6, 6)), np.empty((6, 1))
    for r in range(6):
        lever = _LENGTH_M if r > 2 else 1.0
        b[r, 0] = lever * x[r]
        for c in range(6):
            s = _DAMPING_M**2 if r == c else 0.0
            for i in range(n):
                s += lever * jacobian[r, first + i] * jacobian[c, first + i] * (_LENGTH_M if c > 2 else 1.0)
            a[r, c] = s
    cholesky(a)
    cholesky_solve(a, b)
    for i in range(n):
        wanted = q_t[i]
        for r in range(6):
            wanted += (_LENGTH_M if r > 2 else 1.0) * jacobian[r, first + i] * b[r, 0]
        if wanted < limits[0, i] or wanted > limits[1, i]:
            acting |= _POSITION
            wanted = min(max(wanted, limits[0, i]), limits[1, i])
        step = limits[2, i] * dt
        if abs(wanted - q[i]) > step:
            acting |= _VELOCITY
            wanted = q[i] + np.sign(wanted - q[i]) * step
        q[i] = wanted
    return acting
