"""Operational-space impedance with null space, compiled.

    tau = h(q,qd) + M qdd_t + B qd_t + J' F + (I - J' L J M^-1) (k_n (q_t - q) + d_n (qd_t - qd))
    F   = clamp(K e + D (J qd_t - J qd)),   D = 2 zeta sqrt(K diag(L)),   L = (J M^-1 J')^-1

after Khatib, "A unified approach for motion and force control of robot manipulators: the operational space
formulation" (1987), with the target taken in joint space: tool pose error e against the forward kinematics of q_t,
feed-forward of the target's acceleration and of the passive joint damping B. In free space the model terms carry
the arm along the target, so stiffness can stay low; against an obstacle the clamp on F bounds the steady force.

The external torque comes from a momentum observer (De Luca et al., 2006). With the Coriolis identity its discrete
form is a first-order low-pass of the inverse dynamics residual:

    r += w (M (qd_k - qd_{k-1}) + (h + B qd - tau_{k-1}) dt - r dt),   wrench = L J M^-1 r
"""

from __future__ import annotations

import numba
import numpy as np

from vla_control.core.compiled_math import cholesky, cholesky_solve, clamp_norm, rotation_error
from vla_control.core.parameters import ServoParameters
from vla_control.core.robot import RobotConfig
from vla_core.records import LIMITS
from vla_core.types import Float64

_POSITION = 1 << LIMITS.index("joint_position")
_VELOCITY = 1 << LIMITS.index("joint_velocity")
_TORQUE = 1 << LIMITS.index("joint_torque")
_RATE = 1 << LIMITS.index("torque_rate")
_ERROR = 1 << LIMITS.index("error_clamp")
_FORCE = 1 << LIMITS.index("force_clamp")
_SINGULARITY = 1 << LIMITS.index("singularity")
NOT_FINITE = -1  # instead of bits: a torque isn't a number
_LENGTH_M = 0.2  # lever that makes rotational mobility [1/(kg m^2)] comparable with translational [1/kg]


def gains(params: ServoParameters) -> Float64:
    """Pack the parameters in the order in which `impedance_torque` unpacks them."""
    return np.array(
        [
            params.stiffness_n_m,
            params.stiffness_nm_rad,
            params.damping_ratio,
            params.error_clamp_m,
            params.error_clamp_rad,
            params.force_clamp_n,
            params.torque_clamp_nm,
            params.nullspace_stiffness_nm_rad,
            params.nullspace_damping_nm_s_rad,
            params.mobility_min_per_kg,
            params.limit_margin_rad,
            params.limit_stiffness_nm_rad,
            params.limit_damping_nm_s_rad,
            params.observer_rad_s,
            params.period_s,
        ]
    )


def bounds(config: RobotConfig) -> Float64:
    """Pack the joint limits: float64 (5,J) position min, position max, velocity, torque, torque rate."""
    c = config
    rows = [c.position_min_rad, c.position_max_rad, c.velocity_rad_s, c.torque_nm, c.torque_rate_nm_s]
    return np.ascontiguousarray(np.array(rows))


@numba.njit(cache=True)
def impedance_torque(
    q: Float64, qd: Float64, q_t: Float64, qd_t: Float64, qdd_t: Float64,
    rotation: Float64, position: Float64, rotation_t: Float64, position_t: Float64,
    jacobian: Float64, mass: Float64, bias: Float64, damping: Float64, gain: Float64, bound: Float64,
    tau_previous: Float64, qd_previous: Float64, residual: Float64, tau: Float64, error: Float64, wrench: Float64,
) -> int:  # fmt: skip
    """One tick: fill `tau` (J,), `error` (2,) [m, rad] and `wrench` (6,) [N, N*m]; update `residual` (J,) [N*m].

    Args:
        q, qd, q_t, qd_t, qdd_t: Measured and target joint state (J,).
        rotation, position, rotation_t, position_t: Tool measured and at q_t, base frame (3,3), (3,).
        jacobian: (6,J) of the tool, base axes. mass: (J,J). bias: (J,) Coriolis and gravity [N*m].
        damping: (J,) passive joint damping [N*m*s/rad].
        gain, bound: From `gains` and `bounds`.
        tau_previous: (J,) torque sent last tick. qd_previous: (J,) velocity measured then.

    Returns:
        Bits of the limits that acted, in the order of LIMITS; NOT_FINITE when a torque came out infinite or not a
        number: `tau` is then incomplete, and `residual`, `error` and `wrench` may be poisoned.
    """
    n = q.shape[0]
    acting = 0
    k_lin, k_rot, zeta, e_lin, e_rot = gain[0], gain[1], gain[2], gain[3], gain[4]
    f_lin, f_rot, k_null, d_null, mobility = gain[5], gain[6], gain[7], gain[8], gain[9]

    # X = M^-1 J', mobility matrix J X, its regularised inverse L
    a = np.empty((n, n))
    x = np.empty((n, 6))
    for i in range(n):
        for j in range(n):
            a[i, j] = mass[i, j] if j >= i else mass[j, i]
        for r in range(6):
            x[i, r] = jacobian[r, i]
    cholesky(a)
    cholesky_solve(a, x)
    scaled = np.empty((6, 6))
    for r in range(6):
        for c in range(6):
            s = 0.0
            for i in range(n):
                s += jacobian[r, i] * x[i, c]
            scaled[r, c] = s * (_LENGTH_M if r > 2 else 1.0) * (_LENGTH_M if c > 2 else 1.0)
    factor = scaled.copy()
    smallest = cholesky(factor)
    if smallest < mobility:
        acting |= _SINGULARITY
        factor[:] = scaled
        for r in range(6):
            factor[r, r] += mobility - max(0.0, smallest)
        cholesky(factor)

    # task force: stiffness and damping towards the moving target, clamped together
    e = np.empty(6)
    rotation_error(rotation_t, rotation, e[3:])
    for r in range(3):
        e[r] = position_t[r] - position[r]
    error[0] = np.sqrt(e[0] ** 2 + e[1] ** 2 + e[2] ** 2)
    error[1] = np.sqrt(e[3] ** 2 + e[4] ** 2 + e[5] ** 2)
    if clamp_norm(e, 0, e_lin) | clamp_norm(e, 3, e_rot):
        acting |= _ERROR
    columns = np.zeros((6, 8))
    for r in range(6):
        columns[r, r] = 1.0
    null = np.empty(n)
    for i in range(n):
        null[i] = k_null * (q_t[i] - q[i]) + d_null * (qd_t[i] - qd[i])
        residual[i] += gain[13] * (bias[i] + damping[i] * qd[i] - tau_previous[i] - residual[i]) * gain[14]
        for j in range(n):
            residual[i] += gain[13] * (mass[i, j] if j >= i else mass[j, i]) * (qd[j] - qd_previous[j])
    for r in range(6):
        scale = _LENGTH_M if r > 2 else 1.0
        for i in range(n):
            columns[r, 6] += scale * x[i, r] * null[i]
            columns[r, 7] += scale * x[i, r] * residual[i]
    cholesky_solve(factor, columns)
    force = np.empty(6)
    for r in range(6):
        scale = _LENGTH_M if r > 2 else 1.0
        speed = 0.0
        for i in range(n):
            speed += jacobian[r, i] * (qd_t[i] - qd[i])
        k = k_rot if r > 2 else k_lin
        force[r] = k * e[r] + 2.0 * zeta * np.sqrt(k * scale * scale * columns[r, r]) * speed
        wrench[r] = scale * columns[r, 7]
    if clamp_norm(force, 0, f_lin) | clamp_norm(force, 3, f_rot):
        acting |= _FORCE

    for i in range(n):
        s = null[i] + bias[i] + damping[i] * qd_t[i]
        for j in range(n):
            s += (mass[i, j] if j >= i else mass[j, i]) * qdd_t[j]
        for r in range(6):
            scale = _LENGTH_M if r > 2 else 1.0
            s += jacobian[r, i] * (force[r] - scale * columns[r, 6])
        # joint limits: a spring from the margin inwards, a brake above the speed limit
        low = bound[0, i] + gain[10] - q[i]
        high = q[i] - bound[1, i] + gain[10]
        if low > 0.0 or high > 0.0:
            acting |= _POSITION
            s += gain[11] * (max(0.0, low) - max(0.0, high))
            if (low > 0.0 and qd[i] < 0.0) or (high > 0.0 and qd[i] > 0.0):
                s -= gain[12] * qd[i]
        excess = abs(qd[i]) - bound[2, i]
        if excess > 0.0:
            acting |= _VELOCITY
            s -= gain[12] * np.sign(qd[i]) * excess
        if not np.isfinite(s):
            return NOT_FINITE
        if abs(s) > bound[3, i]:
            acting |= _TORQUE
            s = np.sign(s) * bound[3, i]
        step = bound[4, i] * gain[14]
        if abs(s - tau_previous[i]) > step:
            acting |= _RATE
            s = tau_previous[i] + np.sign(s - tau_previous[i]) * step
        tau[i] = s
    return acting
