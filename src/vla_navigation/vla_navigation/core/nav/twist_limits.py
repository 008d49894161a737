"""Twists that a base can be given one after another: within its velocities, wheel speeds and accelerations."""

from __future__ import annotations

import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_control.core.base.kinematics import BaseKinematics
from vla_core.types import Float64


class TwistLimits:
    """Of one base and one control period.

    Attributes:
        velocity: (3,) largest vx, vy [m/s], wz [rad/s]; 0 for an axis that it hasn't.
        step: (3,) how much each may change in one period.
        wheels: (W,3) rows w with |w . twist| <= 1 for every twist that the wheels can turn fast enough for.
    """

    def __init__(self, base: BaseConfig, period_s: float) -> None:
        self._kinematics = BaseKinematics(base)
        self.velocity: Float64 = base.velocity.copy()
        self.step: Float64 = base.acceleration * period_s
        self.wheels: Float64 = np.ascontiguousarray(self._kinematics.wheels / base.wheel_speed_rad_s)

    def next(self, before: Float64, wanted: Float64) -> Float64:
        """The twist (3,) that comes as near to `wanted` as one period allows, straight from `before` (3,).

        What a base can be given is convex, so a part of the way between two such twists is such a twist too.
        """
        change = self._kinematics.feasible(wanted) - before
        over = np.abs(change) / np.where(self.step > 0.0, self.step, np.inf)
        nearer: Float64 = before + change / max(1.0, float(over.max()))
        return nearer
