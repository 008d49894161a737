"""What a mobile robot came to know of a place, as a picture: its map, its way and the things that it saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vla_bringup.core.lettering import legible
from vla_core.types import Float64
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.occupancy_grid import FREE_BELOW, OCCUPIED_FROM, OccupancyGrid

_MARGIN_M = 0.3  # of the picture, around what is known
_FREE, _UNKNOWN, _SOLID = 1.0, 0.8, 0.15


@dataclass(frozen=True, slots=True)
class SeenThing:
    """An object of the semantic map: its name, where it is (x, y) [m, map], and how likely it exists."""

    name: str
    x_m: float
    y_m: float
    likelihood: float


@dataclass(slots=True)
class FloorRecord:
    """The newest map and objects, and the robot's way so far, (x, y, yaw) each, map frame."""

    grid: OccupancyGrid | None = None
    things: Sequence[SeenThing] = ()
    way: list[Float64] = field(default_factory=list)


def write_floor_picture(path: Path, record: FloorRecord, title: str) -> bool:
    """Draw it.

    Args:
        path: `.png` file.
        record: What is drawn.
        title: Instruction.

    Returns:
        False where there was no map, and so no picture.
    """
    if record.grid is None:
        return False
    import matplotlib  # seconds to load, and the graph should be up first

    matplotlib.use("Agg")
    from matplotlib import pyplot

    frame, cells = GridFrame.of(record.grid), record.grid.cells
    picture = np.full(cells.shape, _UNKNOWN)
    picture[(cells >= 0) & (cells < FREE_BELOW)], picture[cells >= OCCUPIED_FROM] = _FREE, _SOLID
    figure, axis = pyplot.subplots(figsize=(9, 8), layout="constrained")
    right, top = frame.x_m + frame.columns * frame.resolution_m, frame.y_m + frame.rows * frame.resolution_m
    extent = (frame.x_m, right, frame.y_m, top)
    axis.imshow(picture, origin="lower", extent=extent, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    if record.way:
        way = np.array(record.way)
        axis.plot(way[:, 0], way[:, 1], color="tab:orange", lw=1.5, label="way of the robot")
        axis.plot(*way[0, :2], "o", color="tab:orange", label="where it was told")
        x, y, yaw = way[-1]
        axis.quiver(x, y, np.cos(yaw), np.sin(yaw), color="tab:red", scale=18, width=0.007, label="where it is now")
    for thing in record.things:
        shade = 0.25 + 0.75 * min(1.0, max(0.0, thing.likelihood))
        axis.plot(thing.x_m, thing.y_m, "s", color="tab:blue", ms=4, alpha=shade)
        axis.annotate(
            thing.name, (thing.x_m, thing.y_m), (3, 3), textcoords="offset points", fontsize=7, alpha=shade,
            color="tab:blue",
        )  # fmt: skip
    known = frame.points(np.argwhere(cells >= 0))
    if len(known):
        (x0, y0), (x1, y1) = known.min(0) - _MARGIN_M, known.max(0) + _MARGIN_M
        axis.set(xlim=(x0, x1), ylim=(y0, y1))
    title, fonts = legible(title)
    axis.set_title(title, fontfamily=fonts)
    axis.set(xlabel="x [m], map", ylabel="y [m]", aspect="equal")
    if record.way:
        axis.legend(loc="upper right", fontsize=8)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
    return True
