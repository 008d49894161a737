"""Which room a thing is in: the one whose furniture stands around it, by ways over the floor and not through walls.

    thing -> floor before it, on the side it was seen from -> ways from there -> votes of the furniture within reach

A vote counts exp(-way / 1.5 m) times how sure the map is of that piece.
"""

from __future__ import annotations

import numpy as np

from vla_core.types import Bool, Float64
from vla_navigation.core.nav.grid_frame import GridFrame
from vla_navigation.core.nav.travel import travel_field
from vla_navigation.core.occupancy_grid import FREE_BELOW, OccupancyGrid
from vla_navigation.core.semantic_map.instance import Instance
from vla_navigation.core.semantic_map.map import SemanticMap
from vla_navigation.core.task.lexicon import lexicon

_FAR_M, _FALL_M = 4.0, 1.5
_LEAST = 0.25  # of all votes for a room: less says nothing, or a piece behind the door decides before its own are seen


class Rooms:
    """Answers for one map of objects and the newest map of the floor.

    Args:
        map: Of objects.
    """

    def __init__(self, map: SemanticMap) -> None:
        self._map = map
        shows = lexicon("en").shows
        self.names = tuple(dict.fromkeys(shows.values()))
        #: (R,K) whether a class shows a room
        self._shows = np.array([[shows.get(name) == room for name in map.classes] for room in self.names], float)
        self._frame: GridFrame | None = None
        self._free: Bool = np.zeros((0, 0), bool)

    def set_floor(self, grid: OccupancyGrid) -> None:
        """Take a newer map of the floor.

        Raises:
            MapError: as `GridFrame.of`.
        """
        self._frame = GridFrame.of(grid)
        self._free = (grid.cells >= 0) & (grid.cells < FREE_BELOW)

    def room_of(self, thing: Instance) -> str:
        """Canonical name; '' while nothing tells."""
        here = self._before(thing)
        if here is None or self._frame is None:
            return ""
        cost = np.where(self._free, 1.0, np.inf).astype(np.float32)
        way_m = travel_field(cost, *here, self._frame.resolution_m, _FAR_M)
        votes = np.zeros(len(self.names))
        for piece in self._map.objects.values():
            shown: Float64 = self._shows @ piece.class_probability
            place = self._before(piece) if shown.any() else None
            if place is not None and way_m[place] <= _FAR_M:
                votes += piece.existence * shown * np.exp(-float(way_m[place]) / _FALL_M)
        return self.names[int(votes.argmax())] if votes.max(initial=0.0) >= _LEAST else ""

    def _before(self, thing: Instance) -> tuple[int, int] | None:
        """The free cell before a thing, on the straight line from where it was seen last; None: there is none."""
        if self._frame is None or not thing.eyes_m:
            return None
        eye, middle = thing.eyes_m[-1][:2], thing.position_m[:2]
        steps = max(2, int(np.hypot(*(middle - eye)) / (0.5 * self._frame.resolution_m)))
        cells = self._frame.cells(middle + np.linspace(0.0, 1.0, steps)[:, None] * (eye - middle))
        cells = cells[self._frame.holds(cells)]
        free = cells[self._free[tuple(cells.T)]]
        return (int(free[0, 0]), int(free[0, 1])) if len(free) else None
