"""Cost of the cheapest way from every cell to one goal (Dijkstra, 1959), and the way itself.

Cells are joined to their eight neighbours; a step costs its length times the mean cost of its two cells. A diagonal
step needs both cells beside it free, so that no corner is cut.
"""

from __future__ import annotations

import heapq

import numba
import numpy as np

from vla_core.types import Float32, Int64


@numba.njit(cache=True)
def travel_field(cost: Float32, row: int, column: int, resolution: float, limit: float = np.inf) -> Float32:
    """Cost-to-go of every cell.

    Args:
        cost: float32 (H,W) per metre, > 0; inf: no way through.
        row, column: The goal.
        resolution: Side of a cell [m].
        limit: Cells dearer than this aren't searched.

    Returns:
        float32 (H,W); inf where no way leads to the goal, or none within the limit.
    """
    rows, columns = cost.shape
    field = np.full((rows, columns), np.inf, np.float32)
    if not np.isfinite(cost[row, column]):
        return field
    field[row, column] = 0.0
    heap = [(np.float32(0.0), row * columns + column)]
    while len(heap) > 0:
        spent, index = heapq.heappop(heap)
        r, c = index // columns, index % columns
        if spent > field[r, c]:
            continue
        if spent > limit:
            break
        for a in range(max(0, r - 1), min(rows, r + 2)):
            for b in range(max(0, c - 1), min(columns, c + 2)):
                if field[a, b] <= spent:
                    continue
                total = np.float32(spent + step_cost(cost, r, c, a, b, resolution))
                if total < field[a, b]:
                    field[a, b] = total
                    heapq.heappush(heap, (total, a * columns + b))
    return field


@numba.njit(cache=True)
def step_cost(cost: Float32, r: int, c: int, a: int, b: int, resolution: float) -> float:
    """Cost of a step between two neighbours; inf where it isn't allowed."""
    mean = 0.5 * (cost[r, c] + cost[a, b])
    if r == a or c == b:
        return float(resolution * mean)
    if not (np.isfinite(cost[r, b]) and np.isfinite(cost[a, c])):
        return np.inf
    return float(np.sqrt(2.0) * resolution * mean)


@numba.njit(cache=True)
def descend(field: Float32, cost: Float32, row: int, column: int, resolution: float) -> Int64:
    """The cheapest way from a cell to the field's goal: cells (N,2), the first and the last among them.

    Args:
        field: Of `travel_field`, finite at the start.
    """
    rows, columns = field.shape
    way = [(row, column)]
    r, c = row, column
    while field[r, c] > 0.0:
        best, next_r, next_c = np.inf, r, c
        for dr in range(-1, 2):
            for dc in range(-1, 2):
                a, b = r + dr, c + dc
                if (dr == 0 and dc == 0) or a < 0 or b < 0 or a >= rows or b >= columns:
                    continue
                if field[a, b] < field[r, c]:
                    total = field[a, b] + step_cost(cost, r, c, a, b, resolution)
                    if total < best:
                        best, next_r, next_c = total, a, b
        if next_r == r and next_c == c:
            break
        r, c = next_r, next_c
        way.append((r, c))
    cells = np.empty((len(way), 2), np.int64)
    for k in range(len(way)):
        cells[k, 0], cells[k, 1] = way[k]
    return cells
