"""Impedance in operational space with a null space, and of every joint, compiled.

    tau = h(q,qd) + M qdd_t + B qd_t + f(qd_t) + (1 - s) tau_task + s tau_joint
    tau_task  = J' F + (I - J' L J M^-1) (k_n (q_t - q) + d_n (qd_t - qd))
    F   = clamp(K e + D (J qd_t - J qd)),   D = 2 zeta sqrt(K diag(L)),   L = (J M^-1 J')^-1
    tau_joint = t + J' (clamp(W) - W),   t = K_q (q_t - q) + D_q (qd_t - qd),   W = L J M^-1 t

after Khatib, "A unified approach for motion and force control of robot manipulators: the operational space
formulation" (1987), with the target taken in joint space: tool pose error e against the forward kinematics of q_t,
feed-forward of the target's acceleration and of the passive joint damping B and Coulomb friction f. In free space the
model terms carry the arm along the target, so stiffness can stay low; against an obstacle the clamp bounds the steady
force, in joint impedance that of the force W which the joint springs exert at the tool. All damping is
2 zeta sqrt(stiffness * inertia), so it follows the stiffness. The J joints are those of one arm of the robot.

The external torque comes from a momentum observer (De Luca et al., 2006). With the Coriolis identity its discrete
form is a first-order low-pass of the inverse dynamics residual:

    r += min(1, w dt) (M (qd_k - qd_{k-1}) / dt + h + B qd + f(qd) - tau_{k-1} - r),   wrench = L J M^-1 r

where dt is the time between the two states: longer than a period where states were missed, while tau_{k-1} stood.
"""

from __future__ import annotations

import numba
import numpy as np

from vla_control.core.compiled_math import cholesky, cholesky_solve, clamp_norm, rotation_error
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
#: What lies where in `gain`. The names stand in this file because numba keeps compiled code as long as its own file
#: doesn't change.
(
    K_LIN, K_ROT, ZETA, ERROR_LIN, ERROR_ROT, FORCE_LIN, FORCE_ROT, K_NULL, D_NULL, MOBILITY_MIN, MARGIN, K_LIMIT,
    D_LIMIT, OBSERVER, PERIOD, SMOOTHING, STIFFNESS, JOINT_SHARE,
) = range(18)  # fmt: skip
_LENGTH_M = 0.2  # lever that makes rotational mobility [1/(kg m^2)] comparable with translational [1/kg]


def joint_table(config: RobotConfig) -> Float64:
    """Pack what belongs to each joint.

    Returns:
        float64 (7,J): position min, position max, velocity, torque, torque rate, stiffness, Coulomb friction.
    """
    c = config
    rows = [
        c.position_min_rad, c.position_max_rad, c.velocity_rad_s, c.torque_nm, c.torque_rate_nm_s,
        c.joint_stiffness_nm_rad, c.coulomb_friction_nm,
    ]  # fmt: skip
    return np.ascontiguousarray(np.array(rows))


@numba.njit(cache=True)
def impedance_torque(
    q: Float64, qd: Float64, q_t: Float64, qd_t: Float64, qdd_t: Float64,
    rotation: Float64, position: Float64, rotation_t: Float64, position_t: Float64,
    first: int, jacobian_all: Float64, mass_all: Float64, bias: Float64, damping: Float64,
    gain: Float64, table: Float64,
    tau_previous: Float64, qd_previous: Float64, elapsed_s: float,
    residual: Float64, tau: Float64, error: Float64, wrench: Float64,
) -> int:  # fmt: skip
    """One tick: fill `tau` (J,), `error` (2,) [m, rad] and `wrench` (6,) [N, N*m]; update `residual` (J,) [N*m].

    Args:
        q, qd, q_t, qd_t, qdd_t: Measured and target joint state (J,).
        rotation, position, rotation_t, position_t: Tool measured and at q_t, base frame (3,3), (3,).
        first: Column of the arm's first joint in the next two; its other joints follow.
        jacobian_all: (6,>=J) of the tool, base axes. mass_all: (>=J,>=J), of which the lower triangle isn't read.
        bias: (J,) Coriolis and gravity [N*m].
        damping: (J,) passive joint damping [N*m*s/rad].
        gain, table: From `Compliance` and `joint_table`.
        tau_previous: (J,) torque sent last tick. qd_previous: (J,) velocity measured then.
        elapsed_s: Time since then [s], > 0.

    Returns:
        Bits of the limits that acted, in the order of LIMITS; NOT_FINITE when a torque came out infinite or not a
        number: `tau` is then incomplete, and `residual`, `error` and `wrench` may be poisoned.
    """
    n = q.shape[0]
    acting = 0
    share, zeta, period_s = gain[JOINT_SHARE], gain[ZETA], gain[PERIOD]

    # X = M^-1 J', mobility matrix J X, its regularised inverse L
    mass, jacobian, x = np.empty((n, n)), np.empty((6, n)), np.empty((n, 6))
    for i in range(n):
        for j in range(i, n):
            mass[i, j] = mass[j, i] = mass_all[first + i, first + j]
        for r in range(6):
            jacobian[r, i] = x[i, r] = jacobian_all[r, first + i]
    a = mass.copy()
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
    if smallest < gain[MOBILITY_MIN]:
        acting |= _SINGULARITY
        factor[:] = scaled
        for r in range(6):
            factor[r, r] += gain[MOBILITY_MIN] - max(0.0, smallest)
        cholesky(factor)

    # joint springs and the observer, then what they are at the tool
    e = np.empty(6)
    rotation_error(rotation_t, rotation, e[3:])
    for r in range(3):
        e[r] = position_t[r] - position[r]
    error[0] = np.sqrt(e[0] ** 2 + e[1] ** 2 + e[2] ** 2)
    error[1] = np.sqrt(e[3] ** 2 + e[4] ** 2 + e[5] ** 2)
    if clamp_norm(e, 0, gain[ERROR_LIN]) | clamp_norm(e, 3, gain[ERROR_ROT]):
        acting |= _ERROR
    heard = min(1.0, gain[OBSERVER] * elapsed_s)
    null, spring, carry = np.empty(n), np.empty(n), np.empty(n)
    for i in range(n):
        dq, dqd = q_t[i] - q[i], qd_t[i] - qd[i]
        k = gain[STIFFNESS] * table[5, i]
        null[i] = gain[K_NULL] * dq + gain[D_NULL] * dqd
        spring[i] = k * dq + 2.0 * zeta * np.sqrt(k * mass[i, i]) * dqd
        friction = damping[i] * qd[i] + table[6, i] * np.tanh(qd[i] / gain[SMOOTHING])
        carry[i] = bias[i] + damping[i] * qd_t[i] + table[6, i] * np.tanh(qd_t[i] / gain[SMOOTHING])
        residual[i] += heard * (bias[i] + friction - tau_previous[i] - residual[i])
        for j in range(n):
            residual[i] += heard / elapsed_s * mass[i, j] * (qd[j] - qd_previous[j])
    columns = np.zeros((6, 9))
    for r in range(6):
        columns[r, r] = 1.0
        scale = _LENGTH_M if r > 2 else 1.0
        for i in range(n):
            columns[r, 6] += scale * x[i, r] * null[i]
            columns[r, 7] += scale * x[i, r] * residual[i]
            columns[r, 8] += scale * x[i, r] * spring[i]
    cholesky_solve(factor, columns)

    # forces at the tool: stiffness and damping towards the moving target, each clamped
    force, pull = np.empty(6), np.empty(6)
    for r in range(6):
        scale = _LENGTH_M if r > 2 else 1.0
        speed = 0.0
        for i in range(n):
            speed += jacobian[r, i] * (qd_t[i] - qd[i])
        k = gain[K_ROT] if r > 2 else gain[K_LIN]
        force[r] = k * e[r] + 2.0 * zeta * np.sqrt(k * scale * scale * columns[r, r]) * speed
        wrench[r], pull[r] = scale * columns[r, 7], scale * columns[r, 8]
    clamped = pull.copy()
    if share < 1.0 and clamp_norm(force, 0, gain[FORCE_LIN]) | clamp_norm(force, 3, gain[FORCE_ROT]):
        acting |= _FORCE
    if share > 0.0 and clamp_norm(clamped, 0, gain[FORCE_LIN]) | clamp_norm(clamped, 3, gain[FORCE_ROT]):
        acting |= _FORCE

    for i in range(n):
        s = carry[i] + (1.0 - share) * null[i] + share * spring[i]
        for j in range(n):
            s += mass[i, j] * qdd_t[j]
        for r in range(6):
            scale = _LENGTH_M if r > 2 else 1.0
            s += jacobian[r, i] * ((1.0 - share) * (force[r] - scale * columns[r, 6]) + share * (clamped[r] - pull[r]))
        # joint limits: a spring from the margin inwards, a brake above the speed limit
        low = table[0, i] + gain[MARGIN] - q[i]
        high = q[i] - table[1, i] + gain[MARGIN]
        if low > 0.0 or high > 0.0:
            acting |= _POSITION
            s += gain[K_LIMIT] * (max(0.0, low) - max(0.0, high))
            if (low > 0.0 and qd[i] < 0.0) or (high > 0.0 and qd[i] > 0.0):
                s -= gain[D_LIMIT] * qd[i]
        excess = abs(qd[i]) - table[2, i]
        if excess > 0.0:
            acting |= _VELOCITY
            s -= gain[D_LIMIT] * np.sign(qd[i]) * excess
        if not np.isfinite(s):
            return NOT_FINITE
        if abs(s) > table[3, i]:
            acting |= _TORQUE
            s = np.sign(s) * table[3, i]
        step = table[4, i] * period_s
        if abs(s - tau_previous[i]) > step:
            acting |= _RATE
            s = tau_previous[i] + np.sign(s - tau_previous[i]) * step
        tau[i] = s
    return acting
