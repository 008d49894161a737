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
def quaternion_from_matrix(m, out):  # type: ignore[no-untyped-def]
    """Fill out (4,) with the unit quaternion xyzw, w >= 0, of rotation matrix m (3,3) (Shepperd, 1978)."""
    trace = m[0, 0] + m[1, 1] + m[2, 2]
    if trace > m[0, 0] and trace > m[1, 1] and trace > m[2, 2]:
        s = 2.0 * np.sqrt(1.0 + trace)
        out[3] = 0.25 * s
        out[0] = (m[2, 1] - m[1, 2]) / s
        out[1] = (m[0, 2] - m[2, 0]) / s
        out[2] = (m[1, 0] - m[0, 1]) / s
    else:
        i = 0
        if m[1, 1] > m[0, 0]:
            i = 1
        if m[2, 2] > m[i, i]:
            i = 2
        j = (i + 1) % 3
        k = (i + 2) % 3
        s = 2.0 * np.sqrt(max(1e-12, 1.0 + m[i, i] - m[j, j] - m[k, k]))
        out[i] = 0.25 * s
        out[j] = (m[j, i] + m[i, j]) / s
        out[k] = (m[k, i] + m[i, k]) / s
        out[3] = (m[k, j] - m[j, k]) / s
    sign = 1.0 if out[3] >= 0.0 else -1.0
    norm = sign / np.sqrt(out[0] ** 2 + out[1] ** 2 + out[2] ** 2 + out[3] ** 2)
    for i in range(4):
        out[i] *= norm


@numba.njit(cache=True)
def rotation_error(target, actual, out):  # type: ignore[no-untyped-def]
    """Fill out (3,) with the rotation vector [rad], base frame, that turns `actual` into `target` (both (3,3))."""
    delta = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            delta[i, j] = target[i, 0] * actual[j, 0] + target[i, 1] * actual[j, 1] + target[i, 2] * actual[j, 2]
    x = np.empty(4)
    quaternion_from_matrix(delta, x)
    sine = np.sqrt(x[0] ** 2 + x[1] ** 2 + x[2] ** 2)
    factor = 2.0 if sine < 1e-9 else 2.0 * np.arctan2(sine, x[3]) / sine
    for i in range(3):
        out[i] = factor * x[i]


@numba.njit(cache=True)
def cholesky(a):  # type: ignore[no-untyped-def]
    """Factor a (n,n) in place into its lower triangle; returns the smallest pivot (not positive: failed)."""
    n = a.shape[0]
    smallest = np.inf
    for j in range(n):
        s = a[j, j]
        for k in range(j):
            s -= a[j, k] * a[j, k]
        smallest = min(smallest, s)
        if s <= 0.0:
            return smallest
        d = np.sqrt(s)
        a[j, j] = d
        for i in range(j + 1, n):
            s = a[i, j]
            for k in range(j):
                s -= a[i, k] * a[j, k]
            a[i, j] = s / d
    return smallest


@numba.njit(cache=True)
def cholesky_solve(factor, b):  # type: ignore[no-untyped-def]
    """Solve in place for the columns of b (n,m)."""
    n, columns = b.shape
    for c in range(columns):
        for i in range(n):
            s = b[i, c]
            for k in range(i):
                s -= factor[i, k] * b[k, c]
            b[i, c] = s / factor[i, i]
        for i in range(n - 1, -1, -1):
            s = b[i, c]
            for k in range(i + 1, n):
                s -= factor[k, i] * b[k, c]
            b[i, c] = s / factor[i, i]


@numba.njit(cache=True)
def clamp_norm(x, start, largest):  # type: ignore[no-untyped-def]
    """Scale x[start:start+3] to at most `largest`; returns whether it did."""
    norm = np.sqrt(x[start] ** 2 + x[start + 1] ** 2 + x[start + 2] ** 2)
    if norm <= largest:
        return False
    for i in range(start, start + 3):
        x[i] *= largest / norm
    return True


@numba.njit(cache=True)
def impedance_torque(
    q, qd, q_t, qd_t, qdd_t, rotation, position, rotation_t, position_t, jacobian, mass, bias, damping,
    gain, bound, tau_previous, qd_previous, residual, tau, error, wrench,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """One tick: fill `tau` (J,), `error` (2,) [m, rad] and `wrench` (6,) [N, N*m]; update `residual` (J,) [N*m].

    Args:
        q, qd, q_t, qd_t, qdd_t: Measured and target joint state (J,).
        rotation, position, rotation_t, position_t: Tool measured and at q_t, base frame (3,3), (3,).
        jacobian: (6,J) of the tool, base axes. mass: (J,J). bias: (J,) Coriolis and gravity [N*m].
        damping: (J,) passive joint damping [N*m*s/rad].
        gain, bound: From `gains` and `bounds`.
        tau_previous: (J,) torque sent last tick. qd_previous: (J,) velocity measured then.

    Returns:
        Bits of the limits that acted, in the order of LIMITS.
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
        if abs(s) > bound[3, i]:
            acting |= _TORQUE
            s = np.sign(s) * bound[3, i]
        step = bound[4, i] * gain[14]
        if abs(s - tau_previous[i]) > step:
            acting |= _RATE
            s = tau_previous[i] + np.sign(s - tau_previous[i]) * step
        tau[i] = s
    return acting
