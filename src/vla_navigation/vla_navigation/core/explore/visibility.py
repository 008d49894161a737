"""Lines of sight over a grid: a cell is visible when the straight line to its centre meets no opaque cell before it.

Lines are walked cell by cell (Amanatides & Woo, "A fast voxel traversal algorithm", 1987); where one passes exactly
through a corner it enters the cell beyond it.
"""

from __future__ import annotations

import numba
import numpy as np

from vla_core.types import Bool, Float32, Float64, Int64


@numba.njit(cache=True)
def sees(opaque: Bool, x: float, y: float, row: int, column: int) -> bool:
    """Whether the cell's centre is visible from (x, y) [cells from the grid's corner]."""
    rows, columns = opaque.shape
    to_x, to_y = column + 0.5 - x, row + 0.5 - y
    c, r = int(np.floor(x)), int(np.floor(y))
    step_c, step_r = (1 if to_x > 0 else -1), (1 if to_y > 0 else -1)
    per_c = 1.0 / abs(to_x) if to_x != 0.0 else np.inf
    per_r = 1.0 / abs(to_y) if to_y != 0.0 else np.inf
    next_c = ((c + 1 - x) if to_x > 0 else (x - c)) * per_c if to_x != 0.0 else np.inf
    next_r = ((r + 1 - y) if to_y > 0 else (y - r)) * per_r if to_y != 0.0 else np.inf
    for _ in range(rows + columns + 4):
        if r == row and c == column:
            return True
        if 0 <= r < rows and 0 <= c < columns and opaque[r, c]:
            return False
        if abs(next_c - next_r) < 1e-9:
            c, r = c + step_c, r + step_r
            next_c, next_r = next_c + per_c, next_r + per_r
        elif next_c < next_r:
            c, next_c = c + step_c, next_c + per_c
        else:
            r, next_r = r + step_r, next_r + per_r
    return False


@numba.njit(cache=True)
def faces(normal: Float32, least: float, dx: float, dy: float) -> bool:
    """Whether a ray along (dx, dy) meets a cell with this normal (2,) frontally enough; one without a normal always.

    Args:
        least: Cosine of the largest angle between ray and normal.
    """
    nx, ny = normal[0], normal[1]
    if nx == 0.0 and ny == 0.0:
        return True
    return bool(-(dx * nx + dy * ny) >= least * np.hypot(dx, dy))


@numba.njit(cache=True)
def look(
    opaque: Bool, known: Bool, normals: Float32, least: float, x: float, y: float, yaw: float, half_fov: float,
    near: float, far: float, seen: Bool,
) -> int:  # fmt: skip
    """Mark the known cells that a camera sees; lengths in cells. Returns how many are new.

    Args:
        opaque: bool (H,W), what nobody sees through; such a cell may itself be seen.
        known: bool (H,W), cells that may be marked.
        normals: float32 (H,W,2) of fronts, zero elsewhere. least: See `faces`.
        x, y: Camera, from the grid's corner. yaw, half_fov: Its direction and half its field of view [rad].
        near, far: Limits of its range.
        seen: bool (H,W), marks that are added to.
    """
    rows, columns = seen.shape
    found = 0
    for r in range(max(0, int(y - far)), min(rows, int(y + far) + 2)):
        for c in range(max(0, int(x - far)), min(columns, int(x + far) + 2)):
            if seen[r, c] or not known[r, c]:
                continue
            dx, dy = c + 0.5 - x, r + 0.5 - y
            away = np.hypot(dx, dy)
            if away < near or away > far:
                continue
            turn = np.arctan2(dy, dx) - yaw
            if abs(np.arctan2(np.sin(turn), np.cos(turn))) > half_fov:
                continue
            if faces(normals[r, c], least, dx, dy) and sees(opaque, x, y, r, c):
                seen[r, c] = True
                found += 1
    return found


@numba.njit(cache=True)
def polar_gain(
    worth: Float32, opaque: Bool, normals: Float32, least: float, row: int, column: int, near: float, far: float,
    gain: Float64,
) -> None:  # fmt: skip
    """Fill gain (N,) with the worth (H,W) per cell that lies along each of N directions around a cell, -pi first.

    A ray sums worth * r dr dtheta from `near` to `far` [cells], up to and with the first opaque cell; fronts that it
    grazes (see `faces`) are left out.
    """
    rows, columns = worth.shape
    rays = gain.shape[0]
    for k in range(rays):
        angle = -np.pi + 2.0 * np.pi * k / rays
        cos, sin = np.cos(angle), np.sin(angle)
        total = 0.0
        for i in range(1, int(far) + 1):
            r, c = int(np.floor(row + 0.5 + i * sin)), int(np.floor(column + 0.5 + i * cos))
            if r < 0 or c < 0 or r >= rows or c >= columns:
                break
            if i >= near and faces(normals[r, c], least, cos, sin):
                total += i * worth[r, c]
            if opaque[r, c]:
                break
        gain[k] = total * 2.0 * np.pi / rays


@numba.njit(cache=True)
def widest(
    worth: Float32, opaque: Bool, normals: Float32, least: float, cells: Int64, near: float, far: float, wide: int,
    rays: int, gain: Float64, first: Int64,
) -> None:  # fmt: skip
    """For each of the cells (N,2) the cone of `wide` neighbouring rays out of `rays` that shows most, as `polar_gain`.

    Args:
        gain: (H,W), what that cone shows is written there. first: (H,W), and there its first ray.
    """
    along = np.zeros(rays)
    for n in range(cells.shape[0]):
        row, column = cells[n, 0], cells[n, 1]
        polar_gain(worth, opaque, normals, least, row, column, near, far, along)
        total = along[:wide].sum()
        gain[row, column], first[row, column] = total, 0
        for k in range(1, rays):
            total += along[(k + wide - 1) % rays] - along[k - 1]
            if total > gain[row, column]:
                gain[row, column], first[row, column] = total, k
