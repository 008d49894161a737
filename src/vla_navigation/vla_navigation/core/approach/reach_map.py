"""What an arm can take, without inverse kinematics at every question: a table over distance and height.

After Zacharias, Borst, Hirzinger, "Capturing robot workspace structure" (2007): a place counts by the share of the
directions in which the hand can be there. An arm whose first joint turns it about the vertical has the same table in
every bearing, so two coordinates are enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from vla_control.core.reach import Reach
from vla_control.core.robot import RobotModel
from vla_core.errors import ConfigError
from vla_core.types import Float64

#: How steeply the hand may come down on a thing [rad below the horizontal], and its rolls.
PITCHES_RAD = (np.pi / 2, 1.2, 0.9, 0.5, 0.0)
ROLLS_RAD = (0.0, np.pi / 2)
_MARGIN_RAD = 0.15  # from the limits of the pan


@dataclass(frozen=True, slots=True)
class ReachMap:
    """Table of an arm.

    Attributes:
        axis_m: float64 (2,) where the vertical axis of its first joint is, base frame.
        bearing_rad: Least and greatest bearing of that joint, base frame.
        distance_m: float64 (R,) from the axis, ascending.
        height_m: float64 (H,) above the floor, ascending.
        share: float64 (R,H) of the directions in which the hand can be there, 0..1.
    """

    axis_m: Float64
    bearing_rad: tuple[float, float]
    distance_m: Float64
    height_m: Float64
    share: Float64

    @classmethod
    def of(cls, robot: RobotModel, distance_m: Float64, height_m: Float64) -> ReachMap:
        """Solve for every place of a lattice; takes seconds.

        Raises:
            ConfigError: the first joint isn't vertical, so a table of two coordinates doesn't tell what it can reach.
        """
        low, high = robot.config.position_min_rad[0], robot.config.position_max_rad[0]
        axis, zero = _vertical_axis(robot)
        reach, home = Reach(robot), robot.config.home_rad.copy()
        home[0] = -zero  # straight ahead

        def share(distance: float, height: float) -> float:
            place = np.array([axis[0] + distance, axis[1], height])
            ways = [reach.solve(place, pitch, roll, home) is not None for pitch in PITCHES_RAD for roll in ROLLS_RAD]
            return float(np.mean(ways))

        table = np.array([[share(d, h) for h in height_m] for d in distance_m])
        return cls(axis, (low + zero + _MARGIN_RAD, high + zero - _MARGIN_RAD), distance_m, height_m, table)

    def at(self, points: Float64) -> Float64:
        """Share of directions (N,) for points (N,3) in the base frame; between places of the table the least of them.

        A place is worth what its worst neighbour in the table is: who stands between two must be able to rely on it.
        """
        beside = points[:, :2] - self.axis_m
        bearing = np.arctan2(beside[:, 1], beside[:, 0])
        inside = (bearing >= self.bearing_rad[0]) & (bearing <= self.bearing_rad[1])
        cells = []
        for axis, value in ((self.distance_m, np.hypot(*beside.T)), (self.height_m, points[:, 2])):
            inside &= (value >= axis[0]) & (value <= axis[-1])
            cells.append(np.clip(np.searchsorted(axis, value, side="right") - 1, 0, len(axis) - 2))
        i, j = cells
        worst = np.min([self.share[i, j], self.share[i + 1, j], self.share[i, j + 1], self.share[i + 1, j + 1]], axis=0)
        return np.where(inside, worst, 0.0)

    def best_distance_m(self, height_m: float) -> float:
        """From the axis, where most directions are possible at that height; of several the middle one.

        Raises:
            ConfigError: nothing at that height can be reached.
        """
        look = RegularGridInterpolator((self.distance_m, self.height_m), self.share, bounds_error=False, fill_value=0.0)
        column = look(np.stack([self.distance_m, np.full_like(self.distance_m, height_m)], 1))
        if column.max() <= 0.0:
            got = f"a thing {height_m:.2f} m up"
            raise ConfigError(got, "a height that the arm can reach", "take what lies lower, or higher")
        best = np.flatnonzero(column > column.max() - 1e-9)
        return float(self.distance_m[best].mean())

    def error_m(self, thing_m: Float64) -> float:
        """How much nearer to the axis, or farther from it, a thing (3,) in the base frame is than is best [m].

        Raises:
            ConfigError: nothing at its height can be reached.
        """
        height_m = float(np.clip(thing_m[2], self.height_m[0], self.height_m[-1]))
        return abs(float(np.hypot(*(thing_m[:2] - self.axis_m))) - self.best_distance_m(height_m))

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        np.savez_compressed(
            path, axis_m=self.axis_m, bearing_rad=np.array(self.bearing_rad), distance_m=self.distance_m,
            height_m=self.height_m, share=self.share,
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> ReachMap:
        """Read what `save` wrote.

        Raises:
            ConfigError: the file is missing or something else.
        """
        try:
            with np.load(path) as file:
                low, high = file["bearing_rad"].tolist()
                return cls(file["axis_m"], (low, high), file["distance_m"], file["height_m"], file["share"])
        except (OSError, KeyError, ValueError) as error:
            fix = "make it: ./vla python -m vla_navigation.reach_table --robot NAME"
            raise ConfigError(f"no reach table in {path.name}: {error}", "that of the robot's arm", fix) from error


def _vertical_axis(robot: RobotModel) -> tuple[Float64, float]:
    """Where the first joint's axis is (2,), and the tool's bearing about it with all joints at home but this at 0.

    Raises:
        ConfigError: the tool changes its height or distance when that joint turns.
    """
    places = []
    for angle in (-0.6, 0.0, 0.6):
        q = robot.config.home_rad.copy()
        q[0] = angle
        places.append(np.array(robot.tool_se3(q).translation))
    a, b, c = places
    # the axis is as far from all three
    rows = 2.0 * np.array([b[:2] - a[:2], c[:2] - b[:2]])
    axis = np.linalg.solve(rows, np.array([b[:2] @ b[:2] - a[:2] @ a[:2], c[:2] @ c[:2] - b[:2] @ b[:2]]))
    if np.ptp([p[2] for p in places]) > 1e-6:
        got = f"first joint '{robot.config.joints[0]}' of robot '{robot.config.name}'"
        raise ConfigError(got, "one that turns the arm about the vertical", "give a table of another kind")
    beside = b[:2] - axis
    return axis, float(np.arctan2(beside[1], beside[0]))
