"""Pieces of furniture, made of boxes and cylinders, and the surfaces on them that things lie on.

A piece stands in its own frame: origin on the floor in the middle of its outline, its back towards +y, its front
towards -y. The arm of the robot reaches surfaces up to REACH_M; others are there too, as in any flat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

REACH_M = 0.44  # surfaces above it are out of the arm's reach

#: Colours of materials; a style replaces some of them per flat, see vla_sim.core.flat.style.
WOOD, DARK, WHITE, METAL, CLOTH, PLANT, BLACK = "wood", "dark", "white", "metal", "cloth", "plant", "black"


@dataclass(frozen=True, slots=True)
class Part:
    """A box (half sizes) or an upright cylinder (radius, radius, half height) at its centre [m]."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    colour: str
    round: bool = False


@dataclass(frozen=True, slots=True)
class Surface:
    """Where things can lie: height, middle and half size in the piece's frame, headroom above [m].

    `front_only`: sides and back are in the way of an arm.
    """

    height: float
    centre: tuple[float, float]
    half: tuple[float, float]
    headroom: float = 1.0
    front_only: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A kind of furniture with drawn sizes.

    Attributes:
        kind: Key of KINDS.
        width, depth: Of its outline [m].
        parts, surfaces: What it is made of, what lies on it.
        against_wall: Its back belongs to a wall.
        front_m: Free space that using it needs before its front [m].
    """

    kind: str
    width: float
    depth: float
    parts: tuple[Part, ...]
    surfaces: tuple[Surface, ...] = field(default=())
    against_wall: bool = True
    front_m: float = 0.0


def draw_piece(rng: np.random.Generator, kind: str) -> Piece:
    """A piece of a kind with sizes drawn by `rng`; KeyError for an unknown kind is a mistake of ours."""
    return KINDS[kind](rng)


def _block(x: float, y: float, z0: float, z1: float, w: float, d: float, colour: str) -> Part:
    return Part((x, y, (z0 + z1) / 2), (w / 2, d / 2, (z1 - z0) / 2), colour)


def _pole(x: float, y: float, z0: float, z1: float, radius: float, colour: str) -> Part:
    return Part((x, y, (z0 + z1) / 2), (radius, radius, (z1 - z0) / 2), colour, round=True)


def _top(height: float, w: float, d: float, edge: float = 0.05) -> Surface:
    return Surface(height, (0.0, 0.0), (w / 2 - edge, d / 2 - edge))


def _table(kind: str, rng: np.random.Generator, w: float, d: float, h: float, wall: bool, colour: str = WOOD) -> Piece:
    legs = [_block(sx * (w / 2 - 0.03), sy * (d / 2 - 0.03), 0.0, h - 0.03, 0.045, 0.045, colour)
            for sx in (-1, 1) for sy in (-1, 1)]  # fmt: skip
    return Piece(kind, w, d, (_block(0, 0, h - 0.03, h, w, d, colour), *legs), (_top(h, w, d),), wall, 0.4)


def _chest(kind: str, w: float, d: float, h: float, colour: str, doors: int) -> Piece:
    """A closed body with fronts and handles."""
    parts = [_block(0, 0, 0.0, h, w, d - 0.02, colour)]
    step = w / doors
    for i in range(doors):
        x = -w / 2 + (i + 0.5) * step
        parts.append(_block(x, -d / 2 + 0.006, 0.05, h - 0.03, step - 0.02, 0.012, WHITE if colour != WHITE else METAL))
        parts.append(_block(x + step / 2 - 0.05, -d / 2 - 0.004, h * 0.55, h * 0.55 + 0.09, 0.012, 0.012, BLACK))
    return Piece(kind, w, d, tuple(parts), (_top(h, w, d),), True, 0.4)


def _sink(rng: np.random.Generator) -> Piece:
    w, d, h = rng.uniform(0.75, 0.95), 0.58, 0.85
    body = _chest("sink", w, d, h - 0.03, WHITE, 2).parts
    basin = (_block(0, 0, h - 0.03, h, w, d, METAL), _block(0, -0.03, h, h + 0.004, w * 0.62, d * 0.62, BLACK))
    tap = (_pole(0, 0.22, h, h + 0.24, 0.014, METAL), _block(0, 0.15, h + 0.22, h + 0.245, 0.024, 0.16, METAL),
           _pole(0, 0.075, h + 0.17, h + 0.235, 0.011, METAL))  # fmt: skip
    return Piece("sink", w, d, (*body, *basin, *tap), (), True, 0.5)


def _stove(rng: np.random.Generator) -> Piece:
    w, d, h = 0.6, 0.58, 0.86
    plates = tuple(_pole(x, y, h, h + 0.006, r, METAL) for x, y, r in
                   ((-0.13, -0.12, 0.08), (0.13, -0.12, 0.09), (-0.13, 0.12, 0.09), (0.13, 0.12, 0.07)))  # fmt: skip
    oven = (_block(0, 0, 0, h - 0.02, w, d - 0.02, WHITE), _block(0, -d / 2 + 0.006, 0.2, 0.62, 0.48, 0.012, BLACK),
            _block(0, -d / 2 - 0.012, 0.66, 0.685, 0.44, 0.02, METAL),
            _block(0, 0, h - 0.02, h, w, d, BLACK))  # fmt: skip
    return Piece("stove", w, d, (*oven, *plates), (), True, 0.5)


def _fridge(rng: np.random.Generator) -> Piece:
    w, d, h = 0.6, 0.62, rng.uniform(1.5, 1.85)
    parts = (_block(0, 0.01, 0, h, w, d - 0.04, METAL), _block(0, -d / 2 + 0.02, 0.06, h * 0.36, w - 0.02, 0.03, WHITE),
             _block(0, -d / 2 + 0.02, h * 0.37, h - 0.02, w - 0.02, 0.03, WHITE),
             _block(-0.24, -d / 2 - 0.01, h * 0.42, h * 0.62, 0.02, 0.03, BLACK),
             _block(-0.24, -d / 2 - 0.01, h * 0.2, h * 0.33, 0.02, 0.03, BLACK))  # fmt: skip
    return Piece("fridge", w, d, parts, (), True, 0.5)


def _shelf(rng: np.random.Generator) -> Piece:
    """Open boards; the lower ones are within reach, one keeps books."""
    w, d, first = rng.uniform(0.7, 1.0), 0.28, rng.uniform(0.32, 0.38)
    heights = (0.06, first, first + 0.36, first + 0.72, first + 1.04)
    sides = tuple(_block(s * (w / 2 - 0.011), 0, 0, heights[-1], 0.022, d, WOOD) for s in (-1, 1))
    boards = tuple(_block(0, 0, z - 0.022, z, w - 0.044, d, WOOD) for z in heights)
    back = _block(0, d / 2 - 0.006, 0, heights[-1], w, 0.012, WOOD)
    books, x = [], -w / 2 + 0.05
    while x < w / 2 - 0.12:
        thick, tall = rng.uniform(0.025, 0.05), rng.uniform(0.18, 0.26)
        books.append(_block(x, 0.03, heights[2], heights[2] + tall, thick, 0.17,
                            str(rng.choice((CLOTH, DARK, PLANT, WHITE)))))  # fmt: skip
        x += thick + 0.004
    half = (w / 2 - 0.09, d / 2 - 0.06)
    surfaces = tuple(Surface(heights[i], (0, -0.035), half, heights[i + 1] - heights[i] - 0.022, True) for i in (1, 3))
    return Piece("shelf", w, d, (*sides, *boards, back, *books), surfaces, True, 0.5)


def _trolley(rng: np.random.Generator) -> Piece:
    w, d, h = rng.uniform(0.5, 0.65), rng.uniform(0.34, 0.40), rng.uniform(0.36, 0.44)
    poles = tuple(
        _pole(sx * (w / 2 - 0.015), sy * (d / 2 - 0.015), 0, h, 0.012, METAL) for sx in (-1, 1) for sy in (-1, 1)
    )
    boards = (_block(0, 0, h - 0.02, h, w, d, WOOD), _block(0, 0, 0.10, 0.12, w, d, WOOD))
    return Piece("trolley", w, d, (*boards, *poles), (_top(h, w, d, 0.045),), True, 0.4)


def _sofa(rng: np.random.Generator, kind: str = "sofa") -> Piece:
    w, d, seat = (rng.uniform(1.6, 2.1) if kind == "sofa" else 0.85), 0.85, rng.uniform(0.38, 0.42)
    arms = tuple(_block(s * (w / 2 - 0.08), 0, 0, seat + 0.16, 0.16, d, CLOTH) for s in (-1, 1))
    back = _block(0, d / 2 - 0.11, 0, seat + 0.42, w, 0.22, CLOTH)
    gap, n = w - 0.34, (2 if kind == "sofa" else 1)
    seats = tuple(_block(-gap / 2 + (i + 0.5) * gap / n, -0.11, seat - 0.12, seat, gap / n - 0.012, d - 0.23, CLOTH)
                  for i in range(n))  # fmt: skip
    base = _block(0, -0.10, 0.06, seat - 0.12, gap, d - 0.25, DARK)
    front = Surface(seat, (0.0, -0.24), (gap / 2 - 0.08, 0.12), front_only=True)
    return Piece(kind, w, d, (*arms, back, base, *seats), (front,), True, 0.5)


def _bed(rng: np.random.Generator) -> Piece:
    w, d, h = rng.uniform(0.95, 1.5), 2.0, rng.uniform(0.40, 0.45)
    pillows = 1 if w < 1.2 else 2
    parts = [_block(0, 0, 0.05, 0.24, w, d, WOOD), _block(0, -0.01, 0.24, h, w - 0.04, d - 0.06, WHITE),
             _block(0, -0.28, h, h + 0.03, w - 0.02, d - 0.62, CLOTH),
             _block(0, d / 2 - 0.03, 0, 0.9, w, 0.06, WOOD)]  # fmt: skip
    parts += [_block((i - (pillows - 1) / 2) * w / pillows, d / 2 - 0.28, h, h + 0.1, w / pillows * 0.78, 0.36, WHITE)
              for i in range(pillows)]  # fmt: skip
    side = Surface(h + 0.03, (0.0, -0.35), (w / 2 - 0.08, d / 2 - 0.45))
    return Piece("bed", w, d, tuple(parts), (side,), True, 0.4)


def _bathtub(rng: np.random.Generator) -> Piece:
    w, d, h = rng.uniform(1.4, 1.65), 0.7, 0.55
    rim = 0.07
    parts = (_block(0, -d / 2 + rim / 2, 0, h, w, rim, WHITE), _block(0, d / 2 - rim / 2, 0, h, w, rim, WHITE),
             _block(-w / 2 + rim / 2, 0, 0, h, rim, d, WHITE), _block(w / 2 - rim / 2, 0, 0, h, rim, d, WHITE),
             _block(0, 0, 0, 0.15, w, d, WHITE), _pole(w / 2 - 0.035, 0, h, h + 0.18, 0.014, METAL))  # fmt: skip
    return Piece("bathtub", w, d, parts, (), True, 0.4)


def _washbasin(rng: np.random.Generator) -> Piece:
    w, d, h = rng.uniform(0.55, 0.7), 0.46, 0.82
    parts = (_block(0, 0.06, 0, h - 0.14, 0.22, 0.22, WHITE), _block(0, 0, h - 0.14, h, w, d, WHITE),
             _block(0, -0.03, h, h + 0.004, w * 0.7, d * 0.6, METAL), _pole(0, 0.17, h, h + 0.16, 0.013, METAL),
             _block(0, 0.11, h + 0.14, h + 0.16, 0.022, 0.13, METAL))  # fmt: skip
    return Piece("washbasin", w, d, parts, (), True, 0.5)


def _toilet(rng: np.random.Generator) -> Piece:
    parts = (_block(0, 0.24, 0.35, 0.78, 0.38, 0.18, WHITE), _pole(0, -0.08, 0, 0.36, 0.13, WHITE),
             _block(0, 0.10, 0, 0.38, 0.22, 0.32, WHITE), _pole(0, -0.10, 0.36, 0.41, 0.20, WHITE),
             _pole(0, -0.10, 0.41, 0.43, 0.17, DARK))  # fmt: skip
    return Piece("toilet", 0.42, 0.66, parts, (), True, 0.4)


def _chair(rng: np.random.Generator) -> Piece:
    legs = tuple(_block(sx * 0.18, sy * 0.18, 0, 0.44, 0.035, 0.035, WOOD) for sx in (-1, 1) for sy in (-1, 1))
    seat = _block(0, 0, 0.44, 0.47, 0.42, 0.42, WOOD)
    back = (
        _block(0, 0.19, 0.62, 0.90, 0.40, 0.03, WOOD),
        *(_block(s * 0.18, 0.19, 0.47, 0.62, 0.03, 0.03, WOOD) for s in (-1, 1)),
    )
    return Piece("chair", 0.42, 0.42, (*legs, seat, *back), (), False)


def _plant(rng: np.random.Generator) -> Piece:
    r, h = rng.uniform(0.11, 0.15), rng.uniform(0.25, 0.32)
    leaves = [_pole(0, 0, h, h + 0.28, 0.02, DARK)]
    for i in range(5):
        angle, reach = i * 2.4 + rng.uniform(0, 0.5), rng.uniform(0.05, 0.11)
        z, size = h + 0.14 + 0.09 * i, 0.15 - 0.015 * i
        leaves.append(_block(reach * np.cos(angle), reach * np.sin(angle), z, z + 0.05, size, size, PLANT))
    return Piece("plant", 0.34, 0.34, (_pole(0, 0, 0, h, r, WOOD), *leaves), (), True)


def _bin(rng: np.random.Generator) -> Piece:
    r, h = rng.uniform(0.11, 0.14), rng.uniform(0.28, 0.42)
    return Piece(
        "bin", 2 * r, 2 * r, (_pole(0, 0, 0, h, r, METAL), _pole(0, 0, h, h + 0.012, r * 0.9, BLACK)), (), True
    )


def _carton(rng: np.random.Generator) -> Piece:
    w, d, h = rng.uniform(0.28, 0.42), rng.uniform(0.24, 0.34), rng.uniform(0.2, 0.3)
    tape = _block(0, 0, h, h + 0.003, 0.05, d, WHITE)
    return Piece("cardboard_box", w, d, (_block(0, 0, 0, h, w, d, WOOD), tape), (), True)


#: Kind → how it is drawn.
KINDS: Mapping[str, Callable[[np.random.Generator], Piece]] = MappingProxyType(
    {
        "sink": _sink,
        "counter": lambda r: _chest("counter", r.uniform(0.8, 1.3), 0.58, 0.86, WHITE, 2),
        "stove": _stove,
        "fridge": _fridge,
        "trolley": _trolley,
        "dining_table": lambda r: _table("dining_table", r, r.uniform(1.0, 1.3), r.uniform(0.7, 0.8), 0.74, False),
        "chair": _chair,
        "sofa": _sofa,
        "armchair": lambda r: _sofa(r, "armchair"),
        "coffee_table": lambda r: _table("coffee_table", r, r.uniform(0.7, 1.0), r.uniform(0.42, 0.55),
                                         r.uniform(0.32, 0.42), False),
        "tv_bench": lambda r: _television(_chest("tv_bench", r.uniform(1.1, 1.5), 0.42, r.uniform(0.36, 0.44), DARK,
                                                     3)),
        "shelf": _shelf,
        "bed": _bed,
        "nightstand": lambda r: _chest("nightstand", 0.44, 0.38, r.uniform(0.38, 0.45), WOOD, 1),
        "wardrobe": lambda r: _chest("wardrobe", r.uniform(0.9, 1.3), 0.56, 1.95, WOOD, 2),
        "desk": lambda r: _table("desk", r, r.uniform(1.0, 1.3), 0.58, 0.73, True),
        "bathtub": _bathtub,
        "washbasin": _washbasin,
        "toilet": _toilet,
        "stool": lambda r: _table("stool", r, r.uniform(0.34, 0.42), r.uniform(0.30, 0.36), r.uniform(0.32, 0.42), True,
                                  WHITE),
        "shoe_bench": lambda r: _table("shoe_bench", r, r.uniform(0.7, 0.95), 0.32, r.uniform(0.34, 0.42), True),
        "plant": _plant,
        "bin": _bin,
        "cardboard_box": _carton,
    }
)  # fmt: skip


def _television(bench: Piece) -> Piece:
    h, w = bench.surfaces[0].height, bench.width
    screen = (_block(0, 0.10, h, h + 0.02, 0.35, 0.18, BLACK),
              _block(0, 0.12, h + 0.06, h + 0.56, min(0.95, w), 0.04, BLACK),
              _block(0, 0.12, h + 0.02, h + 0.06, 0.08, 0.04, BLACK))  # fmt: skip
    front = Surface(h, (0.0, -0.105), (w / 2 - 0.06, 0.05), front_only=True)
    return Piece("tv_bench", w, bench.depth, (*bench.parts, *screen), (front,), True, 0.4)
