"""Search of a pose without a good guess: branch and bound over translations, for every heading in turn.

Every pose is rated by the share of the scan's points that lie on walls. Grids that hold the largest rating within
2^h x 2^h cells bound whole blocks of translations at once (Olson 2009, "Real-time correlative scan matching"; Hess et
al. 2016, "Real-time loop closure in 2D LIDAR SLAM", algorithm 3).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from vla_core import se2
from vla_core.types import Float64, UInt8

CELL_M = 0.1
_LEVELS = 6  # the coarsest blocks measure 2^5 cells
_BESIDE = 150  # rating of a cell beside a wall, of 255
_POINTS = 120  # of a scan that are rated
_SLICE = 24  # headings per step of a search
_SAME_M, _SAME_RAD = 0.5, 0.35  # poses nearer than that are one answer


@dataclass(frozen=True, slots=True)
class Window:
    """Where to search.

    Attributes:
        centre: float64 (3,) the middle of it.
        reach_m: Largest distance from it along each axis [m]. reach_rad: Largest turn from it [rad], <= pi.
    """

    centre: Float64
    reach_m: float
    reach_rad: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        pose: float64 (3,), to within a cell and a heading; None: nothing is good enough.
        score: Share of points on walls, 0..1.
        rival: The same of the best pose that is another answer, where it is at least `rival_share` of the best.
    """

    pose: Float64 | None
    score: float
    rival: float


class ScoreField:
    """Ratings of places by the walls near them, and their bounds.

    Args:
        walls: (P,2) points on walls [m], P > 0.
    """

    def __init__(self, walls: Float64) -> None:
        self.corner: Float64 = walls.min(axis=0) - 2 * CELL_M
        self.size_m: Float64 = walls.max(axis=0) + 2 * CELL_M - self.corner
        width, height = (np.ceil(self.size_m / CELL_M).astype(int) + 1).tolist()
        self.levels: UInt8 = np.zeros((_LEVELS, height, width), np.uint8)
        rate(self.levels, (walls - self.corner) / CELL_M)

    @property
    def window(self) -> Window:
        """All of it, every heading."""
        middle = self.corner + 0.5 * self.size_m
        return Window(np.array([*middle, 0.0]), float(0.5 * self.size_m.max()), np.pi)


def search(
    field: ScoreField, points: Float64, window: Window, least: float, rival_share: float
) -> Generator[None, None, Found]:
    """Find the best pose of points (P,2) [m]; a generator, so that one long search becomes many short steps.

    Args:
        least: Score below which nothing counts, 0..1.
        rival_share: Of the best score; another answer with at least that is a rival. 1: nobody asks.
    """
    used = points[np.linspace(0, len(points) - 1, min(_POINTS, len(points))).astype(int)]
    step = CELL_M / max(float(np.median(np.linalg.norm(used, axis=1))), 10 * CELL_M)
    half = int(np.ceil(window.reach_rad / step))
    headings = window.centre[2] + np.linspace(-window.reach_rad, window.reach_rad, 2 * half + 1)
    nowhere = np.full(3, np.inf)
    best, score = yield from _best(field, used, headings, window, least, nowhere)
    if best is None or rival_share >= 1.0:
        return Found(best, score, 0.0)
    _, rival = yield from _best(field, used, headings, window, rival_share * score, best)
    return Found(best, score, rival)


def _best(
    field: ScoreField, used: Float64, headings: Float64, window: Window, least: float, apart: Float64
) -> Generator[None, None, tuple[Float64 | None, float]]:
    """The best pose that is another answer than `apart` (3,), and its score; None and 0 below `least`."""
    found, score = None, least
    reach = int(np.ceil(window.reach_m / CELL_M))
    for begin in range(0, len(headings), _SLICE):
        some = headings[begin : begin + _SLICE]
        turned = (
            se2.transform(np.stack([0 * some, 0 * some, some], -1), used[None]) + window.centre[:2]
        ) - field.corner
        cells = np.floor(turned / CELL_M).astype(np.int32)
        far = np.abs(se2.wrap(some - apart[2])) > _SAME_RAD if np.isfinite(apart[2]) else np.ones(len(some), np.bool_)
        place = (apart[:2] - window.centre[:2]) / CELL_M
        total, heading, x, y = descend(
            field.levels, cells, reach, score * 255 * len(used), far, place, _SAME_M / CELL_M
        )
        if heading >= 0:
            score = total / (255.0 * len(used))
            found = np.array([*(window.centre[:2] + CELL_M * np.array([x, y])), se2.wrap(some[heading])])
        yield
    return found, score if found is not None else 0.0


@numba.njit(cache=True)
def rate(levels: UInt8, walls: Float64) -> None:
    """Fill levels (L,H,W): ratings by walls (P,2) in cells, and above them the largest of 2^h cells onwards."""
    count, height, width = levels.shape
    for i in range(walls.shape[0]):
        cx, cy = int(walls[i, 0]), int(walls[i, 1])
        for y in range(cy - 1, cy + 2):
            for x in range(cx - 1, cx + 2):
                levels[0, y, x] = max(levels[0, y, x], 255 if x == cx and y == cy else _BESIDE)
    for h in range(1, count):
        step = 1 << (h - 1)
        for y in range(height):
            for x in range(width):
                largest = levels[h - 1, y, x]
                if x + step < width:
                    largest = max(largest, levels[h - 1, y, x + step])
                if y + step < height:
                    largest = max(largest, levels[h - 1, y + step, x])
                    if x + step < width:
                        largest = max(largest, levels[h - 1, y + step, x + step])
                levels[h, y, x] = largest


@numba.njit(cache=True)
def bound(level: UInt8, cells: NDArray[np.int32], x: int, y: int, block: int) -> int:
    """At least the sum of ratings of cells (P,2) moved by x..x+block-1, y..y+block-1, of one level (H,W)."""
    height, width = level.shape
    total = 0
    for i in range(cells.shape[0]):
        cx, cy = cells[i, 0] + x, cells[i, 1] + y
        if cx > -block and cy > -block and cx < width and cy < height:
            total += level[max(cy, 0), max(cx, 0)]
    return total


@numba.njit(cache=True)
def descend(
    levels: UInt8, cells: NDArray[np.int32], reach: int, least: float, far: NDArray[np.bool_], place: Float64,
    apart: float,
) -> tuple[int, int, int, int]:  # fmt: skip
    """The best sum of ratings above `least`, its heading's index (-1: none) and its translation in cells.

    Args:
        levels: (L,H,W) of a field. cells: (A,P,2) points of each heading. reach: Largest translation [cells].
        far: (A,) headings that are another answer anyway. place: (2,) translation that an answer of another heading
            must be `apart` cells away from.
    """
    top = levels.shape[0] - 1
    block, angles = 1 << top, cells.shape[0]
    across = (2 * reach) // block + 1
    bounds = np.empty(angles * across * across, np.int32)
    for a in range(angles):
        for k in range(across * across):
            x, y = (k % across) * block - reach, (k // across) * block - reach
            bounds[a * across * across + k] = bound(levels[top], cells[a], x, y, block)
    best, heading, best_x, best_y = int(least), -1, 0, 0
    stack = np.empty((4 * levels.shape[0] + 4, 4), np.int32)  # level, x, y, bound
    for i in np.argsort(-bounds):
        if bounds[i] <= best:
            break
        a, k = i // (across * across), i % (across * across)
        _put(stack, 0, top, (k % across) * block - reach, (k // across) * block - reach, bounds[i])
        depth = 1
        while depth > 0:  # every block is split at most once into blocks of a lower level
            depth -= 1
            level, x0, y0, limit = stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3]
            if limit <= best:
                continue
            if level == 0:
                if far[a] or (x0 - place[0]) ** 2 + (y0 - place[1]) ** 2 > apart * apart:
                    best, heading, best_x, best_y = limit, a, x0, y0
                continue
            half = 1 << (level - 1)
            first = depth
            for part in range(4):
                x, y = x0 + (part & 1) * half, y0 + (part >> 1) * half
                if x > reach or y > reach:
                    continue
                value = bound(levels[level - 1], cells[a], x, y, half)
                at = depth
                while at > first and stack[at - 1, 3] > value:  # the best on top
                    stack[at] = stack[at - 1]
                    at -= 1
                _put(stack, at, level - 1, x, y, value)
                depth += 1
    return best, heading, best_x, best_y


@numba.njit(cache=True)
def _put(stack: NDArray[np.int32], at: int, level: int, x: int, y: int, value: int) -> None:
    stack[at, 0], stack[at, 1], stack[at, 2], stack[at, 3] = level, x, y, value
