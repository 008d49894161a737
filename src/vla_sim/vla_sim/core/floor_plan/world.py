"""A robot on a floor plan, in simulated time: its base follows commands within its limits, its lidar turns at 10 Hz.

Nothing holds the robot back when it touches something: touching is counted. Walls and furniture are exact, no grid.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vla_control.core.base.config import BaseConfig
from vla_control.core.base.controller import BaseController
from vla_core.types import NS, Float64
from vla_sim.core.floor_plan.boxes import box_distance, cast
from vla_sim.core.floor_plan.generate import FloorPlan, occupied
from vla_sim.core.floor_plan.walkers import RADIUS_M, Walker

LIDAR_RAYS, LIDAR_REACH_M, LIDAR_LEAST_M = 360, 8.0, 0.05
_STEP_S = 0.02
_STILL = 0.02  # [m/s, rad/s] a base that moves less stands
_CELL_M = 0.05
_NOISE_M, _LOST_SHARE = 0.01, 0.01


class PlanarWorld:
    """One flat, one round robot, some people.

    Args:
        plan: The flat.
        base: Limits of the robot. radius_m: Of its footprint.
        start: (3,) x, y, yaw.
        walkers: How many people. seed: Of people and lidar noise.

    Attributes:
        pose, twist: (3,) of the robot, true.
        boxes: (B,4) that stand there; may be changed between steps (a door that shuts).
        touched, was_touched: How often the moving robot ran into something, and something into the standing robot.
    """

    def __init__(
        self, plan: FloorPlan, base: BaseConfig, radius_m: float, start: Float64, walkers: int = 0, seed: int = 0
    ) -> None:
        rng = np.random.default_rng([seed, 1])
        self._noise = np.random.default_rng([seed, 2])
        self.plan, self.radius_m = plan, radius_m
        self.boxes: Float64 = plan.boxes
        self.pose: Float64 = np.array(start, np.float64)
        self.twist: Float64 = np.zeros(3)
        self.now_ns = NS
        self._base = BaseController(base, _STEP_S, timeout_s=0.5)
        away = ndimage.distance_transform_edt(~occupied(plan.boxes, plan.size_m, _CELL_M)) * _CELL_M
        self.walkers = [Walker(rng, away, _CELL_M, self.pose[:2]) for _ in range(walkers)]
        self.touched = self.was_touched = 0
        self._contact = False
        self.angles: Float64 = np.linspace(-np.pi, np.pi, LIDAR_RAYS, endpoint=False)

    @property
    def time_s(self) -> float:
        """Since the beginning."""
        return (self.now_ns - NS) / NS

    def discs(self) -> Float64:
        """People, (D,3) x, y, radius."""
        return np.array([[*w.position, RADIUS_M] for w in self.walkers]).reshape(-1, 3)

    def step(self, command: Float64, seconds: float) -> None:
        """Follow a command (3,) for some time; counts every new contact."""
        self._base.follow(command, self.now_ns)
        for _ in range(round(seconds / _STEP_S)):
            self.now_ns += round(_STEP_S * NS)
            self.twist = self._base.tick(self.now_ns).twist
            x, y, yaw = self.pose
            v, s, w = self.twist
            middle = yaw + 0.5 * _STEP_S * w
            x += _STEP_S * (v * np.cos(middle) - s * np.sin(middle))
            y += _STEP_S * (v * np.sin(middle) + s * np.cos(middle))
            self.pose = np.array([x, y, np.arctan2(np.sin(yaw + _STEP_S * w), np.cos(yaw + _STEP_S * w))])
            for walker in self.walkers:
                walker.advance(_STEP_S, self.pose, self.radius_m)
            self._look_for_contact()

    def gap_m(self) -> float:
        """Between the robot and whatever is nearest [m]; <= 0: they touch."""
        gap = box_distance(self.pose[0], self.pose[1], self.boxes)
        people = self.discs()
        if len(people):
            gap = min(gap, float((np.hypot(*(people[:, :2] - self.pose[:2]).T) - people[:, 2]).min()))
        return gap - self.radius_m

    def scan(self) -> Float64:
        """Ranges (LIDAR_RAYS,) of `angles` from the robot's centre: noisy, some NaN, inf where nothing is in reach."""
        ranges = np.empty(LIDAR_RAYS)
        cast(self.pose[0], self.pose[1], self.angles + self.pose[2], self.boxes, self.discs(), LIDAR_REACH_M, ranges)
        ranges += self._noise.normal(0.0, _NOISE_M, LIDAR_RAYS)
        ranges[self._noise.random(LIDAR_RAYS) < _LOST_SHARE] = np.nan
        return ranges

    def _look_for_contact(self) -> None:
        contact = self.gap_m() <= 0.0
        if contact and not self._contact:
            if np.abs(self.twist).max() > _STILL:
                self.touched += 1
            else:
                self.was_touched += 1
        self._contact = contact
