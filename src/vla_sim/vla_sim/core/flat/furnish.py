"""Put furniture into the rooms of a floor, so that the robot still reaches every room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vla_sim.core.flat.floor import Floor, Rect
from vla_sim.core.flat.free_space import FreeSpace
from vla_sim.core.flat.furniture import Piece, draw_piece

#: Room → what it always has, and what it may have, each with its chance; in the order in which room is looked for.
ALWAYS: Mapping[str, tuple[str, ...]] = {
    "kitchen": ("sink", "stove"),
    "living_room": ("sofa", "coffee_table"),
    "bedroom": ("bed", "nightstand"),
    "bathroom": ("washbasin", "toilet"),
    "hall": (),
}
SOMETIMES: Mapping[str, tuple[tuple[str, float], ...]] = {
    "kitchen": (("fridge", 0.8), ("trolley", 0.9), ("counter", 0.7), ("dining_table", 0.5), ("shelf", 0.3),
                ("bin", 0.6)),
    "living_room": (("tv_bench", 0.8), ("shelf", 0.8), ("armchair", 0.5), ("dining_table", 0.3), ("plant", 0.7),
                    ("stool", 0.2)),
    "bedroom": (("wardrobe", 0.8), ("desk", 0.5), ("shelf", 0.4), ("plant", 0.3), ("cardboard_box", 0.4)),
    "bathroom": (("bathtub", 0.7), ("stool", 0.7), ("bin", 0.4)),
    "hall": (("shoe_bench", 0.9), ("shelf", 0.3), ("plant", 0.4), ("cardboard_box", 0.4)),
}  # fmt: skip
_GAP_M = 0.02  # between a piece and its wall
_DOOR_M = 0.62  # before and behind doors nothing stands
_TRIES = {True: 60, False: 12}


@dataclass(frozen=True, slots=True)
class Placed:
    """A piece in a room: where the middle of its outline is, and how often it is turned by a quarter."""

    piece: Piece
    room: str
    x: float
    y: float
    turns: int

    @property
    def rect(self) -> Rect:
        w, d = (self.piece.width, self.piece.depth)[:: -1 if self.turns % 2 else 1]
        return Rect(self.x - w / 2, self.y - d / 2, self.x + w / 2, self.y + d / 2)

    def world(self, x: float, y: float) -> tuple[float, float]:
        """A point of the piece's frame on the floor."""
        cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[self.turns]
        return self.x + cos * x - sin * y, self.y + sin * x + cos * y


def furnish(rng: np.random.Generator, floor: Floor, space: FreeSpace) -> list[Placed] | None:
    """Draw furniture for every room and take its place in `space`.

    Returns:
        None where a piece that its room always has finds no place.
    """
    placed: list[Placed] = []
    for room in floor.rooms:
        wishes = [(kind, True) for kind in ALWAYS[room.kind]]
        wishes += [(kind, False) for kind, chance in SOMETIMES[room.kind] if rng.random() < chance]
        for kind, needed in wishes:
            found = _place(rng, floor, space, room.inside, room.kind, draw_piece(rng, kind), placed, _TRIES[needed])
            if found is None and needed:
                return None
            if found is not None:
                placed.append(found)
                space.take([found.rect])
                if kind in ("dining_table", "desk"):
                    placed += _chairs(rng, floor, space, found, placed)
    return placed


def _place(
    rng: np.random.Generator,
    floor: Floor,
    space: FreeSpace,
    inside: Rect,
    room: str,
    piece: Piece,
    placed: list[Placed],
    tries: int,
) -> Placed | None:
    """A place where it overlaps nothing, leaves doors and the fronts of others free, and cuts nothing off."""
    for _ in range(tries):
        turns = int(rng.integers(4))
        w, d = (piece.width, piece.depth)[:: -1 if turns % 2 else 1]
        if inside.x1 - inside.x0 < w + 2 * _GAP_M or inside.y1 - inside.y0 < d + 2 * _GAP_M:
            continue
        x = float(rng.uniform(inside.x0 + w / 2 + _GAP_M, inside.x1 - w / 2 - _GAP_M))
        y = float(rng.uniform(inside.y0 + d / 2 + _GAP_M, inside.y1 - d / 2 - _GAP_M))
        if piece.against_wall:  # its back looks up, left, down, right after 0, 1, 2, 3 turns
            x = (x, inside.x0 + w / 2 + _GAP_M, x, inside.x1 - w / 2 - _GAP_M)[turns]
            y = (inside.y1 - d / 2 - _GAP_M, y, inside.y0 + d / 2 + _GAP_M, y)[turns]
        candidate = Placed(piece, room, round(x, 3), round(y, 3), turns)
        if _fits(candidate, floor, placed) and space.reached(space.mask([candidate.rect], ())) is not None:
            return candidate
    return None


def _fits(candidate: Placed, floor: Floor, placed: list[Placed]) -> bool:
    body, use = candidate.rect, _in_use(candidate)
    if any(door.zone(_DOOR_M).overlaps(body) for door in floor.doors):
        return False
    others = [other for other in placed if other.room == candidate.room]
    return not any(other.rect.grown(0.03).overlaps(body) or other.rect.overlaps(use) or _in_use(other).overlaps(body)
                   for other in others)  # fmt: skip


def _in_use(placed: Placed) -> Rect:
    """Its outline and the free space before its front."""
    r, front = placed.rect, placed.piece.front_m
    dx, dy = ((0, -front), (front, 0), (0, front), (-front, 0))[placed.turns]
    return Rect(r.x0 + min(dx, 0), r.y0 + min(dy, 0), r.x1 + max(dx, 0), r.y1 + max(dy, 0))


def _chairs(
    rng: np.random.Generator, floor: Floor, space: FreeSpace, table: Placed, placed: list[Placed]
) -> list[Placed]:
    """Chairs around a table, half under it, where they fit."""
    chairs: list[Placed] = []
    reach, side = table.piece.depth / 2 + 0.08, table.piece.width * 0.25
    ways = [(-side, -reach, 2), (side, -reach, 2), (-side, reach, 0), (side, reach, 0)]
    ways = ways[:1] if table.piece.kind == "desk" else ways
    for x, y, turns in ways:
        piece = draw_piece(rng, "chair")
        chair = Placed(piece, table.room, *table.world(x, y), (turns + table.turns) % 4)
        inside = next(room.inside for room in floor.rooms if room.kind == table.room)
        r = chair.rect
        within = inside.contains(r.x0, r.y0) and inside.contains(r.x1, r.y1)
        others = [other for other in (*placed, *chairs) if other.room == table.room]
        clash = any(other.rect.overlaps(r) for other in others if other is not table)
        blocked = any(door.zone(_DOOR_M).overlaps(r) for door in floor.doors)
        wanted = within and not clash and not blocked and rng.random() < 0.8
        if wanted and space.reached(space.mask([r], ())) is not None:
            chairs.append(chair)
            space.take([r])
    return chairs
