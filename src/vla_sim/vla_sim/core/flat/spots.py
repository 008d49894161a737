"""Where things lie in a furnished flat, and which of these places the robot's arm gets to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_core.types import Float64
from vla_sim.core.flat.floor import Rect
from vla_sim.core.flat.free_space import FreeSpace
from vla_sim.core.flat.furnish import Placed
from vla_sim.core.flat.furniture import REACH_M, Surface
from vla_sim.core.flat.things import CATEGORIES, FLOOR, Category

NEAR_M = 0.55  # a thing lies next to furniture that is no further away
#: How far from the middle of the base the arm takes something that lies at a height [m]: least, and most on the floor;
#: it grows with the height up to some. Proved against the arm's kinematics by a test.
REACH_LEAST_M, REACH_FLOOR_M, REACH_PER_HEIGHT, REACH_GROWS_M = 0.26, 0.33, 0.2, 0.25
_APART_M = 0.03
_DOOR_M = 0.55
_WALL_SIDE = (0.07, 0.42)  # things on the floor lie this far from what stands there [m]


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing in a flat: what it is, where its underside is [m], its yaw [rad], and what it lies on.

    `on` is a kind of furniture or FLOOR; `near` are the kinds within NEAR_M; `reachable` says whether the arm gets it.
    """

    colour: str
    category: str
    x: float
    y: float
    z: float
    yaw: float
    on: str
    room: str
    near: tuple[str, ...]
    reachable: bool

    @property
    def name(self) -> str:
        return f"{self.colour} {self.category}"


class Spots:
    """Draws places for things, one after the other.

    Args:
        space: The furnished floor; things on the floor take their place in it.
        placed: The furniture.
    """

    def __init__(self, space: FreeSpace, placed: Sequence[Placed]) -> None:
        self._space, self._placed = space, placed
        self._taken: list[tuple[float, float, float, float]] = []  # x, y, height, radius
        reached = space.reached()
        assert reached is not None, "furnish keeps every room reachable"
        self._stands = space.centres(reached)
        self._clearance = space.clearance()

    def keep(self, things: Sequence[Thing]) -> None:
        """Things that lie there already; those on the floor must be taken in the space."""
        self._taken += [(thing.x, thing.y, thing.z, CATEGORIES[thing.category].radius) for thing in things]

    def draw(
        self,
        rng: np.random.Generator,
        colour: str,
        category: str,
        reachable: bool = False,
        room: str = "",
        on: str = "",
        near: str = "",
    ) -> Thing | None:
        """A place for a thing, and from now on it lies there.

        Args:
            rng: Decides where.
            colour, category: What it is.
            reachable: Only where the arm gets it.
            room, on, near: Only in this room, on or next to this kind of furniture; '' asks for nothing.

        Returns:
            None where nothing was found.
        """
        kind = CATEGORIES[category]
        for _ in range(300 if near or room or on else 60):
            found = self._try(rng, colour, category, kind, (room, on, near))
            if found is None or (reachable and not found.reachable):
                continue
            if (on and found.on != on) or (near and near not in found.near) or (room and found.room != room):
                continue
            if found.on == FLOOR:
                circle = [(found.x, found.y, kind.radius)]
                if self._space.reached(self._space.mask((), circle)) is None:
                    continue
                self._space.take((), circle)
            self._taken.append((found.x, found.y, found.z, kind.radius))
            return found
        return None

    def _try(
        self, rng: np.random.Generator, colour: str, category: str, kind: Category, wish: tuple[str, str, str]
    ) -> Thing | None:
        room, on, near = wish
        places = [on] if on else [*kind.places]
        weights = np.array([1.0] if on else [*kind.places.values()])
        if (room or near) and FLOOR not in places:
            places, weights = [*places, FLOOR], np.append(weights, 1.0)
        chosen = str(rng.choice(places, p=weights / weights.sum()))
        if chosen == FLOOR:
            return self._on_floor(rng, colour, category, kind, room, near)
        fitting = [
            (placed, surface)
            for placed in self._placed
            if placed.piece.kind == chosen and (not room or placed.room == room)
            for surface in placed.piece.surfaces
            if surface.headroom > kind.height + 0.06
        ]
        if not fitting:
            return None
        placed, surface = fitting[int(rng.integers(len(fitting)))]
        local = np.array(surface.centre) + rng.uniform(-1, 1, 2) * np.array(surface.half)
        x, y = placed.world(float(local[0]), float(local[1]))
        if not self._apart(x, y, surface.height, kind.radius):
            return None
        reachable = surface.height <= REACH_M and self._can_stand(x, y, surface, placed, kind)
        return self._thing(rng, colour, category, (x, y, surface.height), placed, reachable)

    def _on_floor(
        self, rng: np.random.Generator, colour: str, category: str, kind: Category, room: str, near: str
    ) -> Thing | None:
        areas = [r.inside for r in self._space.floor.rooms if not room or r.kind == room]
        if near:
            areas = [p.rect.grown(NEAR_M) for p in self._placed if p.piece.kind == near]
        if not areas:
            return None
        area = areas[int(rng.integers(len(areas)))]
        x, y = float(rng.uniform(area.x0, area.x1)), float(rng.uniform(area.y0, area.y1))
        outline = self._space.floor.outline
        if not outline.contains(x, y) or not self._apart(x, y, 0.0, kind.radius):
            return None
        beside = self._clearance[self._space.cell(x, y)] - kind.radius
        if not _WALL_SIDE[0] - kind.radius < beside < _WALL_SIDE[1] or beside < 0.01:
            return None
        if any(door.zone(_DOOR_M).contains(x, y) for door in self._space.floor.doors):
            return None
        reachable = bool(np.any(self._stand_distances(x, y, 0.0)))
        return self._thing(rng, colour, category, (x, y, 0.0), None, reachable)

    def _thing(
        self,
        rng: np.random.Generator,
        colour: str,
        category: str,
        at: tuple[float, float, float],
        placed: Placed | None,
        reachable: bool,
    ) -> Thing:
        x, y, z = at
        room = self._space.floor.room_at(x, y)
        near = {
            other.piece.kind
            for other in self._placed
            if other is not placed and other.room == room and other.rect.distance(x, y) < NEAR_M
        }
        on = FLOOR if placed is None else placed.piece.kind
        yaw = float(rng.uniform(-np.pi, np.pi))
        return Thing(colour, category, x, y, z, yaw, on, room, tuple(sorted(near - {on})), reachable)

    def _apart(self, x: float, y: float, z: float, radius: float) -> bool:
        return all(
            abs(z - height) > 0.3 or np.hypot(x - a, y - b) > radius + other + _APART_M
            for a, b, height, other in self._taken
        )

    def _can_stand(self, x: float, y: float, surface: Surface, placed: Placed, kind: Category) -> bool:
        stands = self._stands[self._stand_distances(x, y, surface.height)]
        if not surface.front_only or not len(stands):
            return bool(len(stands))
        return bool(np.any(in_front(placed, stands, x, y)))

    def _stand_distances(self, x: float, y: float, height: float) -> NDArray[np.bool_]:
        distance = np.hypot(self._stands[:, 0] - x, self._stands[:, 1] - y)
        return (distance > REACH_LEAST_M) & (distance < reach_m(height))


def reach_m(height: float) -> float:
    """How far from the middle of the base the arm takes something that lies at a height [m]."""
    return REACH_FLOOR_M + REACH_PER_HEIGHT * min(height, REACH_GROWS_M)


def in_front(placed: Placed, stands: Float64, x: float, y: float) -> NDArray[np.bool_]:
    """Which of stands (N,2) face a point through the front of a piece of furniture, bool (N,)."""
    r: Rect = placed.rect
    dx, dy = stands[:, 0] - x, stands[:, 1] - y
    ahead, beside = ((-dy, dx), (dx, dy), (dy, dx), (-dx, dy))[placed.turns]
    edge = ((r.y0 - stands[:, 1]), (stands[:, 0] - r.x1), (stands[:, 1] - r.y1), (r.x0 - stands[:, 0]))[placed.turns]
    facing: NDArray[np.bool_] = (edge > 0) & (ahead > 0) & (np.abs(beside) < 0.15)
    return facing
