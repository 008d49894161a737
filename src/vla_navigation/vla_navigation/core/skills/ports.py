"""What the skills are connected to; a node puts ROS behind these, tests put scripts behind them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vla_core.types import Bool, Float32, Float64
from vla_navigation.core.nav.grid_frame import GridFrame


@dataclass(frozen=True, slots=True)
class Thing:
    """An object as the semantic map has it now.

    Attributes:
        id: Of the object.
        name: Of its likeliest class.
        position_m: float64 (3,) map frame.
        seen_ns: Stamp of the picture in which it was seen last; ROS clock.
    """

    id: int
    name: str
    position_m: Float64
    seen_ns: int


@dataclass(frozen=True, slots=True)
class Ground:
    """The floor as the robot knows it; grids (H,W) of one frame.

    Attributes:
        frame: Where the grids lie.
        opaque: bool, obstacles and what nobody knows.
        distance_m: float32, from each cell to the nearest obstacle.
        way_m: float32, the robot's way to each cell; inf: it can't get there.
    """

    frame: GridFrame
    opaque: Bool
    distance_m: Float32
    way_m: Float32


class Surroundings(Protocol):
    """What is known of robot and world."""

    def pose(self) -> Float64 | None:
        """float64 (3,) x, y, yaw of the base in the map; None: it isn't known."""

    def thing(self, number: int) -> Thing | None:
        """An object of the map by its id; None: it has gone, or became part of another."""

    def things(self) -> Collection[Thing]:
        """Every object of the map."""

    def ground(self) -> Ground | None:
        """None while there is no map, or no pose in it."""


class Wheels(Protocol):
    """The base, for moves too small for a navigator."""

    def drive(self, v_m_s: float, w_rad_s: float) -> None:
        """Twist until the next one; a base that hears nothing stops by itself."""

    def moves(self) -> bool:
        """Whether the base is in motion by its odometry."""


class Errand(Protocol):
    """Somebody who is told in words and takes a while: the explorer, or the policy behind the mission node."""

    def begin(self, text: str) -> None:
        """Start; replaces what ran."""

    def ended(self) -> tuple[str, str] | None:
        """None while it goes on; then its error code ('' is success) and one sentence."""

    def cancel(self) -> None:
        """End it; nothing happens when none runs."""


class Gripper(Protocol):
    """What the hand feels."""

    def width_m(self) -> float:
        """Distance of its pads; nan while it isn't known."""


def in_base(point_m: Float64, pose: Float64) -> Float64:
    """A point (3,) of the map as seen from a base at (3,): float64 (3,)."""
    to, (cos, sin) = point_m[:2] - pose[:2], (np.cos(pose[2]), np.sin(pose[2]))
    return np.array([cos * to[0] + sin * to[1], cos * to[1] - sin * to[0], point_m[2]])
