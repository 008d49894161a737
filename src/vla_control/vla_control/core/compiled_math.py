"""Small dense linear algebra and rotations for compiled code: no allocation by the caller, no LAPACK call."""

from __future__ import annotations

import numba
import numpy as np

from vla_core.types import Float64


@numba.njit(cache=True)
def quaternion_from_matrix(m: Float64, out: Float64) -> None:
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
def rotation_error(target: Float64, actual: Float64, out: Float64) -> None:
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
def cholesky(a: Float64) -> float:
    """Factor a (n,n) in place into its lower triangle; returns the smallest pivot (not positive: failed)."""
    n = a.shape[0]
    smallest: float = np.inf
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
def cholesky_solve(factor: Float64, b: Float64) -> None:
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
def clamp_norm(x: Float64, start: int, largest: float) -> bool:
    """Scale x[start:start+3] to at most `largest`; returns whether it did."""
    norm = np.sqrt(x[start] ** 2 + x[start + 1] ** 2 + x[start + 2] ** 2)
    if norm <= largest:
        return False
    for i in range(start, start + 3):
        x[i] *= largest / norm
    return True
