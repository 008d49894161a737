"""Floor plans: an outline cut into rooms, doors between them, walls with the doors left out.

Metres, x to the right, y up, origin in the lower left corner of the outline. Every coordinate is a whole number of
centimetres, and the outline's width tells what a flat is for: an even number in flats to train in, an odd one in flats
to evaluate in. So no flat is ever both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vla_core.errors import UnknownNameError

ROOM_KINDS = ("kitchen", "living_room", "bedroom", "bathroom", "hall")
#: Layout → numbers of rooms that it can have. `pinwheel` is held out of training: four rooms around a hall.
LAYOUTS = {"split": (2, 3, 4), "hall": (3, 4, 5), "pinwheel": (5,)}
HELD_OUT_LAYOUTS = ("pinwheel",)
WALL_M, WALL_HEIGHT_M, DOOR_HEIGHT_M = 0.10, 2.40, 2.02
_SHARED_M = 1.35  # two rooms need this much of a common wall for a door
_JAMB_M = 0.22  # from a door to the end of its wall
_EXTRA_DOOR = 0.25  # chance of each door that connectivity doesn't need


@dataclass(frozen=True, slots=True)
class Rect:
    """Axis-aligned rectangle [m]."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def grown(self, margin: float) -> Rect:
        """Larger by `margin` on every side; smaller where it is negative."""
        return Rect(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)

    def overlaps(self, other: Rect) -> bool:
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def contains(self, x: float, y: float) -> bool:
        return self.x0 <= x <= self.x1 and self.y0 <= y <= self.y1

    def distance(self, x: float, y: float) -> float:
        """From a point to the rectangle [m], 0 inside."""
        return float(np.hypot(max(self.x0 - x, 0.0, x - self.x1), max(self.y0 - y, 0.0, y - self.y1)))


@dataclass(frozen=True, slots=True)
class Room:
    """A room up to the middle of its walls; `kind` is one of ROOM_KINDS, each at most once in a flat."""

    kind: str
    rect: Rect

    @property
    def inside(self) -> Rect:
        return self.rect.grown(-WALL_M / 2)


@dataclass(frozen=True, slots=True)
class Door:
    """An opening: its centre, its width, whether its wall runs along y, and the rooms (indices) on either side."""

    x: float
    y: float
    width: float
    along_y: bool
    rooms: tuple[int, int]

    @property
    def rect(self) -> Rect:
        """The opening, as thick as the wall."""
        return self.zone(WALL_M / 2)

    def zone(self, depth: float) -> Rect:
        """The opening and what lies up to `depth` on either side of the wall's middle."""
        half = self.width / 2
        dx, dy = (depth, half) if self.along_y else (half, depth)
        return Rect(self.x - dx, self.y - dy, self.x + dx, self.y + dy)


@dataclass(frozen=True, slots=True)
class Floor:
    """One floor plan. `walls` stand from the floor to WALL_HEIGHT_M; above doors there are lintels."""

    layout: str
    outline: Rect
    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    walls: tuple[Rect, ...]

    def room_at(self, x: float, y: float) -> str:
        """Kind of the room that a point lies in, '' outside."""
        return next((room.kind for room in self.rooms if room.rect.contains(x, y)), "")


def draw_floor(rng: np.random.Generator, evaluation: bool, layout: str | None = None) -> Floor:
    """Draw a floor plan.

    Args:
        rng: Decides everything.
        evaluation: A flat to evaluate in: odd width, any layout; otherwise even width, no held-out layout.
        layout: Key of LAYOUTS; None draws one.

    Raises:
        UnknownNameError: no such layout, or one that training may not see.
    """
    choice = [name for name in LAYOUTS if evaluation or name not in HELD_OUT_LAYOUTS]
    layout = layout or str(rng.choice(choice))
    if layout not in choice:
        raise UnknownNameError("layout", layout, choice)
    count = int(rng.choice(LAYOUTS[layout]))
    while True:
        width = _cm(0.02 * round(rng.uniform(*_width(layout, count)) / 0.02) + 0.01 * evaluation)
        rects, hall = _cut(rng, layout, count, width)
        found = _doors(rng, rects, hall)
        if found is not None and min(min(r.x1 - r.x0, r.y1 - r.y0) for i, r in enumerate(rects) if i != hall) > 2.1:
            break
    kinds = _kinds(rng, rects, hall)
    outline = Rect(0.0, 0.0, max(r.x1 for r in rects), max(r.y1 for r in rects))
    rooms = tuple(Room(kind, rect) for kind, rect in zip(kinds, rects, strict=True))
    return Floor(layout, outline, rooms, tuple(found), tuple(_walls(rects, found)))


def _width(layout: str, count: int) -> tuple[float, float]:
    if layout == "pinwheel":
        return 8.0, 9.4
    return {2: (5.6, 7.4), 3: (6.4, 8.2), 4: (7.0, 8.8), 5: (7.4, 9.4)}[count]


def _cut(rng: np.random.Generator, layout: str, count: int, width: float) -> tuple[list[Rect], int]:
    """Rooms, and which of them is the hall (-1: none)."""
    if layout == "split":
        depth = _cm(np.clip(count * rng.uniform(12.0, 15.0) / width, 3.4, 8.5))
        return _halve(rng, Rect(0.0, 0.0, width, depth), count), -1
    if layout == "hall":
        low, high, hall = (_cm(rng.uniform(a, b)) for a, b in ((3.0, 3.9), (3.0, 3.9), (1.45, 1.9)))
        above = count - 1 if count == 3 else 2
        below = count - 1 - above
        base = low if below else 0.0
        upper = _cm(base + hall)
        rects = [Rect(0.0, base, width, upper)]
        rects += _row(rng, Rect(0.0, upper, width, _cm(upper + high)), above)
        rects += _row(rng, Rect(0.0, 0.0, width, base), below)
        return rects, 0
    depth = _cm(rng.uniform(7.6, 8.8))
    xa, ya = _cm(width * rng.uniform(0.36, 0.40)), _cm(depth * rng.uniform(0.36, 0.40))
    xb, yb = _cm(width * rng.uniform(0.60, 0.64)), _cm(depth * rng.uniform(0.60, 0.64))
    around = [Rect(0, 0, xb, ya), Rect(xb, 0, width, yb), Rect(xa, yb, width, depth), Rect(0, ya, xa, depth)]
    return [Rect(xa, ya, xb, yb), *around], 0


def _halve(rng: np.random.Generator, rect: Rect, count: int) -> list[Rect]:
    if count == 1:
        return [rect]
    first = count // 2
    share = first / count + rng.uniform(-0.06, 0.06)
    if rect.x1 - rect.x0 >= rect.y1 - rect.y0:
        x = _cm(rect.x0 + share * (rect.x1 - rect.x0))
        parts = Rect(rect.x0, rect.y0, x, rect.y1), Rect(x, rect.y0, rect.x1, rect.y1)
    else:
        y = _cm(rect.y0 + share * (rect.y1 - rect.y0))
        parts = Rect(rect.x0, rect.y0, rect.x1, y), Rect(rect.x0, y, rect.x1, rect.y1)
    return [*_halve(rng, parts[0], first), *_halve(rng, parts[1], count - first)]


def _row(rng: np.random.Generator, rect: Rect, count: int) -> list[Rect]:
    if count == 0:
        return []
    shares = np.cumsum(rng.uniform(0.8, 1.2, count))
    edges = [_cm(rect.x0 + share * (rect.x1 - rect.x0)) for share in (0.0, *(shares / shares[-1]))]
    return [Rect(a, rect.y0, b, rect.y1) for a, b in pairwise(edges)]


def _kinds(rng: np.random.Generator, rects: Sequence[Rect], hall: int) -> list[str]:
    """The largest room is where one lives, the smallest of four a bathroom; a kitchen there always is."""
    order = sorted((i for i in range(len(rects)) if i != hall), key=lambda i: -rects[i].area)
    names = ["living_room", "kitchen", "bedroom", "bathroom"][: len(order)]
    if len(order) == 2 and rng.random() < 0.5:
        names = ["bedroom", "kitchen"]
    if len(order) == 3 and rng.random() < 0.5:
        names[2] = "bathroom"
    middle = [name for name in names[1:] if name != "bathroom"]
    names[1 : 1 + len(middle)] = [str(name) for name in rng.permutation(middle)]
    kinds = ["hall"] * len(rects)
    for i, name in zip(order, names, strict=True):
        kinds[i] = name
    return kinds


def _doors(rng: np.random.Generator, rects: Sequence[Rect], hall: int) -> list[Door] | None:
    """A spanning tree of the rooms, through the hall where there is one, and some more; None: not connected."""
    pairs = [(i, j) for i in range(len(rects)) for j in range(i)]
    pairs = [pairs[k] for k in rng.permutation(len(pairs))]
    pairs.sort(key=lambda pair: hall not in pair)
    group, doors = list(range(len(rects))), []
    for i, j in pairs:
        door = _door(rng, rects, i, j)
        if door is None:
            continue
        if group[i] != group[j]:
            group = [group[i] if g == group[j] else g for g in group]
            doors.append(door)
        elif rng.random() < _EXTRA_DOOR:
            doors.append(door)
    return doors if len(set(group)) == 1 else None


def _door(rng: np.random.Generator, rects: Sequence[Rect], i: int, j: int) -> Door | None:
    a, b = rects[i], rects[j]
    width = _cm(rng.uniform(0.86, 1.02))
    reach = width / 2 + _JAMB_M
    if a.x0 == b.x1 or a.x1 == b.x0:
        low, high, x = max(a.y0, b.y0), min(a.y1, b.y1), a.x0 if a.x0 == b.x1 else a.x1
        if high - low >= _SHARED_M:
            return Door(x, _cm(rng.uniform(low + reach, high - reach)), width, True, (i, j))
    if a.y0 == b.y1 or a.y1 == b.y0:
        low, high, y = max(a.x0, b.x0), min(a.x1, b.x1), a.y0 if a.y0 == b.y1 else a.y1
        if high - low >= _SHARED_M:
            return Door(_cm(rng.uniform(low + reach, high - reach)), y, width, False, (i, j))
    return None


def _walls(rects: Sequence[Rect], doors: Sequence[Door]) -> list[Rect]:
    """Wall boxes along all edges of the rooms, doors left out, corners closed."""
    lines: dict[tuple[bool, float], list[tuple[float, float]]] = {}
    for r in rects:
        for x in (r.x0, r.x1):
            lines.setdefault((True, x), []).append((r.y0, r.y1))
        for y in (r.y0, r.y1):
            lines.setdefault((False, y), []).append((r.x0, r.x1))
    half, walls = WALL_M / 2, []
    for (along_y, place), spans in sorted(lines.items()):
        cuts = [(d.y, d.width) if along_y else (d.x, d.width) for d in doors
                if d.along_y == along_y and (d.x if along_y else d.y) == place]  # fmt: skip
        for start, end in _union(spans):
            edges = [start - half]
            for centre, width in sorted(cut for cut in cuts if start < cut[0] < end):
                edges += [centre - width / 2, centre + width / 2]
            edges.append(end + half)
            for a, b in zip(edges[::2], edges[1::2], strict=True):
                walls.append(
                    Rect(place - half, a, place + half, b) if along_y else Rect(a, place - half, b, place + half)
                )
    return walls


def _union(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _cm(value: float) -> float:
    return round(float(value), 2)
