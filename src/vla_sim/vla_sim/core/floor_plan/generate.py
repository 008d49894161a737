"""Flats that no two seeds share: a rectangle split into rooms, doors between them, furniture along walls and within.

Every flat is checked: a robot of CLEAR_M radius can get from everywhere to everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vla_core.types import Float64

WALL_M, CLEAR_M = 0.1, 0.28
_ROOM_M = 2.6  # least side of a room
_DOOR_M = (0.8, 1.0)
_CELL_M = 0.05
_TRIES = 200
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FloorPlan:
    """A flat whose lower left corner lies at the origin; boxes are (x0, y0, x1, y1) [m].

    Attributes:
        size_m: Width and depth.
        walls: (W,4). furniture: (F,4); tables and the like, which the lidar sees as blocks.
        rooms: (R,4) inner rectangles. doors: (D,4) openings in the walls.
    """

    size_m: tuple[float, float]
    walls: Float64
    furniture: Float64
    rooms: Float64
    doors: Float64

    @property
    def boxes(self) -> Float64:
        """Walls and furniture (B,4)."""
        return np.concatenate([self.walls, self.furniture])


def generate(seed: int, size_m: tuple[float, float] = (10.0, 8.0), pieces: int = 3) -> FloorPlan:
    """A flat.

    Args:
        seed: Decides everything.
        size_m: Width and depth.
        pieces: Pieces of furniture per room at most.
    """
    rng = np.random.default_rng(seed)
    for _ in range(_TRIES):
        plan = _draw(rng, size_m, pieces)
        if _connected(plan.boxes, size_m):
            return plan
    raise AssertionError("a flat whose rooms hang together is drawn at once, or nearly so")


def _draw(rng: np.random.Generator, size_m: tuple[float, float], pieces: int) -> FloorPlan:
    """Any flat; rarely, a door lies before the end of another wall."""
    cells = [(0.0, 0.0, *size_m)]
    walls: list[Box] = []
    doors: list[Box] = []
    half = WALL_M / 2
    while cells_to_split := [c for c in cells if max(c[2] - c[0], c[3] - c[1]) >= 2 * _ROOM_M + 0.2]:
        cell = max(cells_to_split, key=lambda c: (c[2] - c[0]) * (c[3] - c[1]))
        cells.remove(cell)
        axis = int(cell[3] - cell[1] > cell[2] - cell[0])  # 0: wall across x
        at = rng.uniform(cell[axis] + _ROOM_M, cell[axis + 2] - _ROOM_M)
        low, high = cell[1 - axis] + half, cell[3 - axis] - half
        width = rng.uniform(*_DOOR_M)
        door = _free_of_joints(rng, low, high, width, axis, at, walls)
        for a, b in ((low, door), (door + width, high)):
            walls.append(_box(axis, at - half, a, at + half, b))
        doors.append(_box(axis, at - half, door, at + half, door + width))
        one, two = list(cell), list(cell)
        one[axis + 2] = two[axis] = at
        cells += [(one[0], one[1], one[2], one[3]), (two[0], two[1], two[2], two[3])]
    w, d = size_m
    walls += [(-half, -half, w + half, half), (-half, d - half, w + half, d + half)]
    walls += [(-half, -half, half, d + half), (w - half, -half, w + half, d + half)]
    rooms = np.array(cells) + [half, half, -half, -half]
    solid, doorways = np.array(walls), np.array(doors).reshape(-1, 4)
    furniture = _furnish(rng, solid, rooms, doorways, size_m, pieces)
    return FloorPlan(size_m, solid, furniture, rooms, doorways)


def occupied(boxes: Float64, size_m: tuple[float, float], cell_m: float = _CELL_M) -> NDArray[np.bool_]:
    """Cells (rows, columns) of the flat's rectangle whose square touches a box."""
    rows, columns = round(size_m[1] / cell_m), round(size_m[0] / cell_m)
    grid = np.zeros((rows, columns), bool)
    for x0, y0, x1, y1 in np.asarray(boxes) / cell_m:
        c0, r0 = max(0, int(np.floor(x0 + 1e-9))), max(0, int(np.floor(y0 + 1e-9)))
        grid[r0 : max(0, int(np.ceil(y1 - 1e-9))), c0 : max(0, int(np.ceil(x1 - 1e-9)))] = True
    return grid


def _box(axis: int, a0: float, b0: float, a1: float, b1: float) -> Box:
    """A box with its extent a along an axis and b along the other one."""
    return (a0, b0, a1, b1) if axis == 0 else (b0, a0, b1, a1)


def _free_of_joints(
    rng: np.random.Generator,
    low: float,
    high: float,
    width: float,
    axis: int,
    at: float,
    walls: list[Box],
) -> float:
    """Where a door of this width begins in low..high, away from walls that meet this one."""
    ends = [
        wall[1 - axis] for wall in walls if abs(wall[axis] - at) < WALL_M * 2 or abs(wall[axis + 2] - at) < WALL_M * 2
    ]
    for _ in range(_TRIES):
        door = rng.uniform(low + 0.3, high - width - 0.3)
        if all(not door - 0.3 < end < door + width + 0.3 for end in ends):
            return float(door)
    return 0.5 * (low + high - width)


def _furnish(
    rng: np.random.Generator, walls: Float64, rooms: Float64, doors: Float64, size_m: tuple[float, float], pieces: int
) -> Float64:
    """Boxes (F,4) along walls and within rooms that leave every place reachable."""
    kept: list[Box] = []
    for x0, y0, x1, y1 in rooms:
        for _ in range(int(rng.integers(1, pieces + 1))):
            w, d = rng.uniform(0.4, 1.5), rng.uniform(0.4, 0.9)
            if rng.random() < 0.5:
                w, d = d, w
            if x1 - x0 < w + 1.0 or y1 - y0 < d + 1.0:
                continue
            x, y = rng.uniform(x0, x1 - w), rng.uniform(y0, y1 - d)
            if rng.random() < 0.65:  # along a wall
                side = int(rng.integers(4))
                x = (x0, x1 - w, x, x)[side]
                y = (y, y, y0, y1 - d)[side]
            piece = (float(x), float(y), float(x + w), float(y + d))
            if _connected(np.concatenate([walls, np.array([*kept, piece])]), size_m):
                kept.append(piece)
    return np.array(kept).reshape(-1, 4)


def _connected(boxes: Float64, size_m: tuple[float, float]) -> bool:
    """Whether all places of a robot with CLEAR_M radius hang together."""
    away = ndimage.distance_transform_edt(~occupied(boxes, size_m)) * _CELL_M
    _, count = ndimage.label(away > CLEAR_M + _CELL_M)
    return bool(count == 1)
