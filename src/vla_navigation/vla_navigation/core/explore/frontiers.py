"""Frontiers of what the camera has seen: seen floor next to cells that may hide something (Yamauchi, 1997)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vla_core.types import Bool, Float64, Int64
from vla_navigation.core.nav.grid_frame import GridFrame

_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True, slots=True)
class Frontier:
    """A piece of the border.

    Attributes:
        cells: (N,2) seen, free cells.
        centre: (2,) middle of that cell which lies nearest to their mean [m].
    """

    cells: Int64
    centre: Float64


def frontier_cells(free: Bool, seen: Bool, unseen: Bool) -> Bool:
    """Free, seen cells (H,W) one of whose eight neighbours is unseen."""
    return np.asarray(free & seen & ndimage.binary_dilation(unseen, _EIGHT))


def find_frontiers(border: Bool, frame: GridFrame, chunk_m: float) -> list[Frontier]:
    """Connected pieces of the border (H,W), cut across their longer side into chunks of about `chunk_m`.

    Every cell of the border is in exactly one of them.
    """
    labels, count = ndimage.label(border, _EIGHT)
    most = max(1, round(chunk_m / frame.resolution_m))
    cells = np.argwhere(border)
    label = labels[border]
    order = np.argsort(label, kind="stable")
    pieces = np.split(cells[order], np.cumsum(np.bincount(label, minlength=count + 1)[1:])[:-1]) if count else []
    found = []
    for piece in pieces:
        spread = piece - piece.mean(0)
        along = spread @ np.linalg.svd(spread, full_matrices=False)[2][0]
        parts = int(np.ceil((np.ptp(along) + 1.0) / most))
        for part in np.array_split(np.argsort(along, kind="stable"), min(parts, len(piece))):
            chunk = piece[part]
            middle = chunk[np.argmin(np.linalg.norm(chunk - chunk.mean(0), axis=1))]
            found.append(Frontier(chunk, frame.points(middle[None])[0]))
    return found
