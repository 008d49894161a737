"""How a flat looks: colours of walls, floors and furniture, and its light; drawn per flat, known to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vla_core.types import UInt8
from vla_sim.core.flat.floor import ROOM_KINDS

Rgb = tuple[float, float, float]
#: Floor covering → pattern and colour.
FLOORS: Mapping[str, tuple[str, Rgb]] = {
    "oak": ("boards", (0.70, 0.56, 0.40)),
    "walnut": ("boards", (0.46, 0.33, 0.23)),
    "ash": ("boards", (0.78, 0.72, 0.63)),
    "grey_carpet": ("carpet", (0.50, 0.50, 0.52)),
    "beige_carpet": ("carpet", (0.74, 0.68, 0.58)),
    "light_tiles": ("tiles", (0.84, 0.85, 0.86)),
    "blue_tiles": ("tiles", (0.62, 0.71, 0.77)),
    "slate_tiles": ("tiles", (0.44, 0.46, 0.48)),
}
PATTERN_M = 1.2  # side of the square of floor that a pattern fills
_PIXELS = 96
_TILED = ("light_tiles", "blue_tiles", "slate_tiles")
_LAID = ("oak", "walnut", "ash", "grey_carpet", "beige_carpet")
_WOODS: tuple[Rgb, ...] = ((0.66, 0.48, 0.30), (0.50, 0.34, 0.21), (0.80, 0.68, 0.50), (0.40, 0.28, 0.20))
_CLOTHS: tuple[Rgb, ...] = (
    (0.30, 0.36, 0.48),
    (0.45, 0.42, 0.40),
    (0.35, 0.46, 0.40),
    (0.55, 0.38, 0.36),
    (0.62, 0.58, 0.52),
)
_WALLS: tuple[Rgb, ...] = (
    (0.92, 0.91, 0.87),
    (0.88, 0.90, 0.92),
    (0.91, 0.87, 0.80),
    (0.84, 0.88, 0.84),
    (0.90, 0.85, 0.85),
)


@dataclass(frozen=True, slots=True)
class Style:
    """Look of one flat.

    Attributes:
        floors: Room kind → key of FLOORS.
        wall, materials: Colours; materials are those of vla_sim.core.flat.furniture.
        ambient, lamp: Brightness of the headlight and of the lamp, 0..1.
        lamp_from: Direction that the lamp shines along.
    """

    floors: Mapping[str, str]
    wall: Rgb
    materials: Mapping[str, Rgb]
    ambient: float
    lamp: float
    lamp_from: Rgb


def draw_style(rng: np.random.Generator) -> Style:
    """Draw a look."""

    def pick(choice: tuple[Rgb, ...], spread: float) -> Rgb:
        colour = np.array(choice[int(rng.integers(len(choice)))]) + rng.normal(0.0, spread, 3)
        r, g, b = (float(v) for v in np.clip(colour, 0.02, 0.98))
        return r, g, b

    laid = str(rng.choice(_LAID))
    floors = {kind: str(rng.choice(_TILED)) if kind in ("kitchen", "bathroom") else laid for kind in ROOM_KINDS}
    if rng.random() < 0.4:
        floors["bedroom"] = str(rng.choice(_LAID))
    materials = {
        "wood": pick(_WOODS, 0.03), "dark": pick(((0.22, 0.21, 0.21),), 0.012),
        "white": pick(((0.88, 0.88, 0.86),), 0.02),
        "metal": pick(((0.66, 0.67, 0.69),), 0.02), "cloth": pick(_CLOTHS, 0.04), "plant": (0.20, 0.42, 0.18),
        "black": (0.08, 0.08, 0.09),
    }  # fmt: skip
    sideways = rng.uniform(-0.5, 0.5, 2)
    return Style(floors, pick(_WALLS, 0.015), materials, float(rng.uniform(0.40, 0.52)), float(rng.uniform(0.28, 0.42)),
                 (float(sideways[0]), float(sideways[1]), -1.0))  # fmt: skip


def floor_pattern(name: str, rng: np.random.Generator) -> UInt8:
    """Picture of a floor covering, key of FLOORS: uint8 (96,96,3), for PATTERN_M of floor."""
    pattern, colour = FLOORS[name]
    shade = np.ones((_PIXELS, _PIXELS))
    rows, columns = np.indices(shade.shape)
    if pattern == "carpet":
        shade += rng.normal(0.0, 0.035, shade.shape)
    elif pattern == "tiles":
        side = _PIXELS // 4
        shade += np.kron(rng.normal(0.0, 0.02, (4, 4)), np.ones((side, side)))
        shade[(rows % side == 0) | (columns % side == 0)] = 0.86
    else:
        width, length = _PIXELS // 8, _PIXELS // 2
        board = (rows // width) * 2 + ((columns + (rows // width) * 29) // length) % 2
        shade += rng.normal(0.0, 0.06, 16)[board] + np.repeat(rng.normal(0.0, 0.018, (_PIXELS, 12)), 8, axis=1)
        shade[(rows % width == 0) | ((columns + (rows // width) * 29) % length == 0)] *= 0.8
    picture: UInt8 = np.clip(255 * shade[..., None] * np.array(colour), 0, 255).astype(np.uint8)
    return picture
