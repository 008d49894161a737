"""Worlds of walls, seen by rays: generated flats, a ring of rooms and a long corridor, with ways through them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np

from vla_core.types import Float64

_NEAREST_M = 0.02
_PARALLEL = 1e-12
_ROOM_M, _DOOR_M, _THICK_M = 4.5, 1.0, 0.1
_ASIDE_M = 0.55  # furniture keeps this far from the way
_APPROACH_M = 0.7  # from a door, where the way turns into it


@dataclass(frozen=True, slots=True)
class World:
    """Walls and a way that touches none.

    Attributes:
        walls: float64 (S,4), segments x0 y0 x1 y1 [m].
        way: float64 (W,2) points that a robot drives through, from the first on [m].
    """

    walls: Float64
    way: Float64


def flat(seed: int, columns: int = 3, rows: int = 2) -> World:
    """A flat of rooms in a row of columns and rows, joined to a tree by doors, with furniture, other for every seed.

    The way leads through every room and back again.
    """
    rng = np.random.default_rng(seed)
    order = [(c, r) for r in range(rows) for c in (range(columns) if r % 2 == 0 else reversed(range(columns)))]
    way = [*_through(order), *_through(order[::-1])[1:]]
    return _furnished(columns, rows, set(pairwise(order)), np.array(way), rng)


def ring(seed: int, columns: int = 3, rows: int = 2) -> World:
    """Rooms around a block, each with a door to the next: the way goes round, into the first room by its other door.

    The last lap's first room closes a loop; then it goes half a round on.
    """
    rng = np.random.default_rng(seed)
    lap = [(c, 0) for c in range(columns)] + [(c, rows - 1) for c in reversed(range(columns))]
    order = [*lap, *lap[: len(lap) // 2 + 1]]
    doors = set(pairwise([*lap, lap[0]]))
    return _furnished(columns, rows, doors, np.array(_through(order)), rng)


def corridor(length_m: float = 40.0) -> World:
    """A corridor 1.8 m wide with a few door niches, driven to its end and back."""
    niches = [(x, side) for x, side in ((7.0, 1), (16.0, 0), (24.0, 1), (33.0, 0)) if x + 1.0 < length_m]
    walls = [(0.0, 0.0, 0.0, 1.8), (length_m, 0.0, length_m, 1.8)]
    for side, y in ((0, 0.0), (1, 1.8)):
        x, depth = 0.0, 0.25 if side else -0.25
        for start in (x for x, at in niches if at == side):
            end = start + 0.9
            walls += [(x, y, start, y), (start, y, start, y + depth), (end, y + depth, end, y)]
            walls.append((start, y + depth, end, y + depth))
            x = end
        walls.append((x, y, length_m, y))
    return World(np.array(walls), np.array([(2.0, 0.9), (length_m - 2.0, 0.9), (2.0, 0.9)]))


@numba.njit(cache=True)
def cast(walls: Float64, origins: Float64, angles_rad: Float64) -> Float64:
    """Distance (N,) [m] to the nearest wall along each ray, inf where there is none.

    Args:
        walls: (S,4) [m]. origins: (N,2) where each ray begins [m]. angles_rad: (N,) where it goes.
    """
    ranges = np.full(angles_rad.shape[0], np.inf)
    for i in range(angles_rad.shape[0]):
        dx, dy = np.cos(angles_rad[i]), np.sin(angles_rad[i])
        for k in range(walls.shape[0]):
            sx, sy = walls[k, 2] - walls[k, 0], walls[k, 3] - walls[k, 1]
            across = dx * sy - dy * sx
            if abs(across) < _PARALLEL:
                continue
            qx, qy = walls[k, 0] - origins[i, 0], walls[k, 1] - origins[i, 1]
            along, part = (qx * sy - qy * sx) / across, (qx * dy - qy * dx) / across
            if _NEAREST_M < along < ranges[i] and 0.0 <= part <= 1.0:
                ranges[i] = along
    return ranges


def _through(order: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """Points through the middles of rooms and of the doors between them."""
    way = [_middle(order[0])]
    for before, after in pairwise(order):
        (ax, ay), (bx, by) = _middle(before), _middle(after)
        door = np.array([(ax + bx) / 2, (ay + by) / 2])
        step = np.sign([bx - ax, by - ay]) * _APPROACH_M
        way += [(float(p[0]), float(p[1])) for p in (door - step, door + step)]
        way.append((bx, by))
    return way


def _middle(room: tuple[int, int]) -> tuple[float, float]:
    return (room[0] + 0.5) * _ROOM_M, (room[1] + 0.5) * _ROOM_M


def _furnished(
    columns: int, rows: int, doors: set[tuple[tuple[int, int], tuple[int, int]]], way: Float64, rng: np.random.Generator
) -> World:
    """Outer walls, walls between the rooms with their doors, and furniture off the way."""
    width, height = columns * _ROOM_M, rows * _ROOM_M
    walls = _box(0.0, 0.0, width, height)
    both = doors | {(b, a) for a, b in doors}
    for c in range(columns):
        for r in range(rows):
            for other in ((c + 1, r), (c, r + 1)):
                if other[0] < columns and other[1] < rows:
                    walls += _partition((c, r), other, ((c, r), other) in both)
    dense = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(way)])
    for c in range(columns):
        for r in range(rows):
            placed = 0
            for _ in range(60):
                size = rng.uniform([0.3, 0.3], [1.8, 0.9])[:: rng.choice([-1, 1])]
                low = rng.uniform([c * _ROOM_M + 0.2, r * _ROOM_M + 0.2], [(c + 1) * _ROOM_M, (r + 1) * _ROOM_M] - size)
                high = low + size
                outside = np.linalg.norm(np.maximum(np.maximum(low - dense, dense - high), 0.0), axis=1)
                inside_room = np.all(high < np.array([c + 1, r + 1]) * _ROOM_M - 0.2)
                if placed < 4 and inside_room and outside.min() > _ASIDE_M:
                    walls += _box(low[0], low[1], high[0], high[1])
                    placed += 1
    return World(np.array(walls, np.float64), way)


def _partition(a: tuple[int, int], b: tuple[int, int], door: bool) -> list[tuple[float, float, float, float]]:
    """The wall between two neighbouring rooms: one box, or two beside a door."""
    (ax, ay), (bx, by) = _middle(a), _middle(b)
    x, y, half = (ax + bx) / 2, (ay + by) / 2, _ROOM_M / 2
    gaps = [(-half, -_DOOR_M / 2), (_DOOR_M / 2, half)] if door else [(-half, half)]
    t = _THICK_M / 2
    boxes = [(x - t, y + lo, x + t, y + hi) if ax != bx else (x + lo, y - t, x + hi, y + t) for lo, hi in gaps]
    return [wall for box in boxes for wall in _box(*box)]


def _box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float, float, float]]:
    return [(x0, y0, x1, y0), (x1, y0, x1, y1), (x1, y1, x0, y1), (x0, y1, x0, y0)]
