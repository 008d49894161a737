"""Graspable things: what they are made of, how wide they are between the jaws, where they tend to lie.

A thing stands in its own frame: origin in the middle of its underside. Metres, kilogrammes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from vla_sim.core.world import RGB as TABLETOP_RGB

RGB = {**TABLETOP_RGB, "white": (0.93, 0.93, 0.90)}
COLOURS = tuple(RGB)
#: Colour-category pairs that no flat to train in contains.
HELD_OUT_PAIRS = (
    ("green", "mug"), ("yellow", "ball"), ("blue", "block"), ("purple", "bottle"), ("red", "can"), ("white", "duck"),
)  # fmt: skip
FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class Shape:
    """One primitive of a thing.

    Attributes:
        form: 'box' (half sizes), 'wall' (a box whose x looks away from the thing's axis), 'cylinder' (radius, half
            height), 'sphere' (radius) or 'ellipsoid' (radii).
        size, centre: [m].
        tone: 'own' takes the thing's colour, the others are RGB of TONES.
        tilt: Of a cylinder: 0 stands upright, 1 lies along y.
        touches: Whether it collides.
    """

    form: str
    size: tuple[float, ...]
    centre: tuple[float, float, float]
    tone: str = "own"
    tilt: int = 0
    touches: bool = True

    @property
    def volume(self) -> float:
        """[m^3]."""
        size = self.size
        match self.form:
            case "cylinder":
                return 2 * np.pi * size[0] ** 2 * size[1]
            case "sphere" | "ellipsoid":
                return 4 / 3 * np.pi * float(np.prod(size if len(size) == 3 else size * 3))
            case _:
                return 8 * float(np.prod(size))


TONES = {
    "dark": (0.12, 0.11, 0.11),
    "metal": (0.78, 0.79, 0.80),
    "label": (0.95, 0.94, 0.88),
    "orange": (0.95, 0.5, 0.05),
}


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of thing.

    Attributes:
        shapes: Primitives.
        radius, height: Of what surrounds it [m].
        grasp_m: What the jaws have to span [m].
        grasp_height: Of the middle of the jaws above its underside [m].
        mass: [kg].
        places: Kinds of furniture, or FLOOR, with weights.
    """

    shapes: tuple[Shape, ...]
    radius: float
    height: float
    grasp_m: float
    grasp_height: float
    mass: float
    places: Mapping[str, float]


def _ring(radius: float, height: float, count: int = 10, wall: float = 0.004) -> tuple[Shape, ...]:
    """Walls of a bowl; a box per side, each turned to face the middle."""
    half = (radius + wall) * np.tan(np.pi / count)
    return tuple(
        Shape("wall", (wall, half, height / 2), (radius * np.cos(a), radius * np.sin(a), height / 2))
        for a in 2 * np.pi * np.arange(count) / count
    )


_KITCHEN = {"counter": 2.0, "trolley": 3.0, "dining_table": 2.0, "coffee_table": 2.0, "tv_bench": 0.5, "desk": 1.0}
_LIVING = {"coffee_table": 3.0, "shelf": 2.0, "tv_bench": 2.0, "nightstand": 1.0, "desk": 1.0, "shoe_bench": 0.6}
_PLAY = {FLOOR: 4.0, "coffee_table": 1.0, "shelf": 1.0, "sofa": 1.0, "bed": 0.6, "stool": 0.6}

#: Name → category; see CHINESE in errands for their other names.
CATEGORIES: Mapping[str, Category] = MappingProxyType(
    {
        "mug": Category(
            (Shape("cylinder", (0.031, 0.040), (0, 0, 0.040)),
             Shape("cylinder", (0.026, 0.0006), (0, 0, 0.0802), "dark"),
             Shape("box", (0.011, 0.005, 0.005), (0.038, 0, 0.062)),
             Shape("box", (0.011, 0.005, 0.005), (0.038, 0, 0.022)),
             Shape("box", (0.005, 0.005, 0.025), (0.050, 0, 0.042))),
            0.055, 0.081, 0.062, 0.045, 0.11, {**_KITCHEN, **_LIVING, "stool": 1.0, FLOOR: 0.5}),
        "bottle": Category(
            (Shape("cylinder", (0.027, 0.065), (0, 0, 0.065)), Shape("cylinder", (0.012, 0.022), (0, 0, 0.152)),
             Shape("cylinder", (0.0275, 0.020), (0, 0, 0.070), "label", touches=False),
             Shape("cylinder", (0.014, 0.010), (0, 0, 0.180), "dark")),
            0.028, 0.19, 0.055, 0.07, 0.13, {**_KITCHEN, "shelf": 1.0, "shoe_bench": 0.6, "stool": 1.0, FLOOR: 1.0}),
        "can": Category(
            (Shape("cylinder", (0.030, 0.052), (0, 0, 0.055)),
             Shape("cylinder", (0.028, 0.0025), (0, 0, 0.1090), "metal"),
             Shape("cylinder", (0.028, 0.0015), (0, 0, 0.0015), "metal")),
            0.030, 0.112, 0.060, 0.068, 0.10, {**_KITCHEN, "coffee_table": 2.0, FLOOR: 0.6}),
        "carton": Category(
            (Shape("box", (0.022, 0.034, 0.060), (0, 0, 0.060)),
             Shape("box", (0.0225, 0.0345, 0.016), (0, 0, 0.075), "label", touches=False),
             Shape("box", (0.006, 0.034, 0.008), (0, 0, 0.128), "label")),
            0.041, 0.137, 0.044, 0.09, 0.10, {**_KITCHEN, "shelf": 1.0, FLOOR: 0.4}),
        "ball": Category((Shape("sphere", (0.030,), (0, 0, 0.030)),), 0.030, 0.060, 0.060, 0.030, 0.05, {FLOOR: 1.0}),
        "bowl": Category(
            (Shape("cylinder", (0.058, 0.003), (0, 0, 0.003)), *_ring(0.058, 0.042)),
            0.064, 0.042, 0.008, 0.036, 0.10, {**_KITCHEN, "nightstand": 0.4, FLOOR: 0.4}),
        "block": Category(
            (Shape("box", (0.020, 0.020, 0.020), (0, 0, 0.020)),), 0.029, 0.040, 0.040, 0.020, 0.05, _PLAY),
        "car": Category(
            (Shape("box", (0.046, 0.021, 0.011), (0, 0, 0.022)),
             Shape("box", (0.024, 0.018, 0.010), (-0.005, 0, 0.043)),
             Shape("box", (0.0245, 0.0185, 0.006), (-0.005, 0, 0.043), "dark", touches=False),
             *(Shape("cylinder", (0.011, 0.005), (x, y, 0.011), "dark", tilt=1)
               for x in (-0.028, 0.028) for y in (-0.022, 0.022))),
            0.053, 0.053, 0.054, 0.025, 0.08, _PLAY),
        "duck": Category(
            (Shape("ellipsoid", (0.040, 0.027, 0.024), (0, 0, 0.024)), Shape("sphere", (0.019,), (0.026, 0, 0.054)),
             Shape("ellipsoid", (0.012, 0.008, 0.005), (0.048, 0, 0.052), "orange", touches=False),
             Shape("sphere", (0.004,), (0.040, 0.011, 0.061), "dark", touches=False),
             Shape("sphere", (0.004,), (0.040, -0.011, 0.061), "dark", touches=False),
             Shape("box", (0.018, 0.012, 0.003), (0, 0, 0.003))),
            0.045, 0.074, 0.054, 0.028, 0.06, {**_PLAY, "stool": 2.0}),
    }
)  # fmt: skip


def allowed_pairs(split: str) -> tuple[tuple[str, str], ...]:
    """Colour-category pairs that the target of a split may have; others in the flat are never held-out ones."""
    if split == "heldout_pair":
        return HELD_OUT_PAIRS
    return tuple((c, k) for c in COLOURS for k in CATEGORIES if (c, k) not in HELD_OUT_PAIRS)
