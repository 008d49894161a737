"""Rotations as arrays of unit quaternions xyzw; every function takes leading batch dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def conjugate(q: Array) -> Array:
    """Inverse rotation of unit quaternions (...,4)."""
    return np.concatenate([-q[..., :3], q[..., 3:]], -1)


def multiply(a: Array, b: Array) -> Array:
    """Hamilton product: first rotate by b, then by a; (...,4) each, broadcast."""
    av, aw, bv, bw = a[..., :3], a[..., 3:], b[..., :3], b[..., 3:]
    vector = aw * bv + bw * av + np.cross(av, bv)
    scalar = aw * bw - np.sum(av * bv, -1, keepdims=True)
    return np.concatenate([vector, scalar], -1)


def to_rotvec(q: Array) -> Array:
    """Logarithm: unit quaternions (...,4) to rotation vectors (...,3) [rad], |v| <= pi."""
    q = np.where(q[..., 3:] < 0, -q, q)
    sine = np.linalg.norm(q[..., :3], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, q[..., 3:])
    return q[..., :3] * np.where(sine > 1e-8, angle / np.maximum(sine, 1e-8), 2.0)


def from_rotvec(v: Array) -> Array:
    """Exponential: rotation vectors (...,3) [rad] to unit quaternions (...,4)."""
    angle = np.linalg.norm(v, axis=-1, keepdims=True)
    scale = np.where(angle > 1e-8, np.sin(angle / 2) / np.maximum(angle, 1e-8), 0.5)
    return np.concatenate([v * scale, np.cos(angle / 2)], -1)


def to_matrix(q: Array) -> Array:
    """Rotation matrices (...,3,3) of unit quaternions (...,4)."""
    x, y, z, w = (q[..., i] for i in range(4))
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)
