"""Twists to wheel speeds, and the largest share of a twist that wheels and limits allow.

Differential drive (track b, wheel radius r): w = (vx -+ b/2 wz) / r, left and right. Four mecanum wheels with rollers
at 45 degrees (Muir & Neuman, "Kinematic modeling for feedback control of an omnidirectional wheeled mobile robot",
1987), with l = (wheelbase + track) / 2: w = (vx -+ vy -+ l wz) / r, front left, front right, rear left, rear right.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_core.types import Float64


class BaseKinematics:
    """Of one base.

    Attributes:
        wheels: float64 (W,3): wheel speeds [rad/s] of a twist vx, vy, wz [m/s, m/s, rad/s].
    """

    def __init__(self, config: BaseConfig) -> None:
        if config.drive == "differential":
            half = config.track_m / 2
            rows = [[1.0, 0.0, -half], [1.0, 0.0, half]]
        else:
            arm = (config.wheelbase_m + config.track_m) / 2
            rows = [[1.0, -1.0, -arm], [1.0, 1.0, arm], [1.0, 1.0, -arm], [1.0, -1.0, arm]]
        self.wheels: Float64 = np.array(rows) / config.wheel_radius_m
        self._moves = config.velocity > 0.0
        axes = np.eye(3)[self._moves] / config.velocity[self._moves, None]
        self._loads: Float64 = np.concatenate([self.wheels / config.wheel_speed_rad_s, axes])

    def feasible(self, twist: Float64) -> Float64:
        """The twist (3,), slowed down as a whole to what wheels and limits allow: its curvature wz / |v| stays.

        A sideways part that the base can't drive must have been refused before: it is removed here.
        """
        slowed: Float64 = twist / max(1.0, self.load(twist))
        return np.where(self._moves, slowed, 0.0)

    def load(self, twists: Float64) -> float:
        """The largest part of what wheels and limits allow that one of the twists (..., 3) takes; convex in them."""
        return float(np.abs(twists @ self._loads.T).max())
