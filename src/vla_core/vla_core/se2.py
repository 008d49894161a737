"""Poses in the plane as arrays x, y, yaw [m, m, rad]; every function takes leading batch dimensions.

A pose T_a_b maps b's coordinates into a: p_a = R(yaw) p_b + (x, y). Exponential, logarithm and adjoint as in Solà,
Deray, Atchuthan, "A micro Lie theory for state estimation in robotics" (2018), section on SE(2).
"""

from __future__ import annotations

import numpy as np

from vla_core.types import Float64

_SMALL_RAD = 1e-6


def wrap(angle: Float64) -> Float64:
    """The same angles (...) [rad] within -pi..pi."""
    return np.arctan2(np.sin(angle), np.cos(angle))


def transform(pose: Float64, points: Float64) -> Float64:
    """Points (...,N,2) [m] of the frame that the pose (...,3) places, in the frame that it is placed in."""
    c, s = np.cos(pose[..., 2, None]), np.sin(pose[..., 2, None])
    x, y = points[..., 0], points[..., 1]
    return np.stack([c * x - s * y + pose[..., 0, None], s * x + c * y + pose[..., 1, None]], -1)


def compose(a: Float64, b: Float64) -> Float64:
    """T_x_z of a = T_x_y and b = T_y_z, (...,3) each."""
    moved = transform(a, b[..., None, :2])[..., 0, :]
    return np.concatenate([moved, wrap(a[..., 2:] + b[..., 2:])], -1)


def inverse(pose: Float64) -> Float64:
    """T_b_a of T_a_b (...,3)."""
    c, s, x, y = np.cos(pose[..., 2]), np.sin(pose[..., 2]), pose[..., 0], pose[..., 1]
    return np.stack([-c * x - s * y, s * x - c * y, wrap(-pose[..., 2])], -1)


def between(a: Float64, b: Float64) -> Float64:
    """The motion from pose a to pose b, seen from a: T_a_b of T_x_a and T_x_b, (...,3) each."""
    return compose(inverse(a), b)


def exp(twist: Float64) -> Float64:
    """The pose (...,3) that a constant twist (...,3) [m, m, rad], seen from the moving body, leads to."""
    a, b = _arc(twist[..., 2])
    x, y = twist[..., 0], twist[..., 1]
    return np.stack([a * x - b * y, b * x + a * y, wrap(twist[..., 2])], -1)


def log(pose: Float64) -> Float64:
    """The twist (...,3) with |yaw| <= pi that leads to a pose (...,3)."""
    yaw = wrap(pose[..., 2])
    a, b = _arc(yaw)
    scale = 1.0 / (a * a + b * b)
    x, y = pose[..., 0], pose[..., 1]
    return np.stack([scale * (a * x + b * y), scale * (a * y - b * x), yaw], -1)


def adjoint(pose: Float64) -> Float64:
    """(...,3,3): compose(T, exp(t)) = compose(exp(Ad_T t), T)."""
    c, s = np.cos(pose[..., 2]), np.sin(pose[..., 2])
    zero, one = np.zeros_like(c), np.ones_like(c)
    rows = [[c, -s, pose[..., 1]], [s, c, -pose[..., 0]], [zero, zero, one]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _arc(yaw: Float64) -> tuple[Float64, Float64]:
    """sin(yaw) / yaw and (1 - cos(yaw)) / yaw."""
    small = np.abs(yaw) < _SMALL_RAD
    safe = np.where(small, 1.0, yaw)
    return np.where(small, 1.0, np.sin(safe) / safe), np.where(small, 0.5 * yaw, (1.0 - np.cos(safe)) / safe)
