"""The driver of the base: a twist becomes wheel speeds, within limits; without news it stops."""

from __future__ import annotations

import numpy as np

from vla_control.core.base.config import BaseConfig
from vla_control.core.base.kinematics import BaseKinematics
from vla_core.types import Float64


class BaseDrive:
    """Ramps to the commanded twist with the base's acceleration.

    Args:
        config: Of a differential drive.
        timeout_s: Without a command for so long the base stops.
    """

    def __init__(self, config: BaseConfig, timeout_s: float) -> None:
        self._kinematics, self._acceleration = BaseKinematics(config), config.acceleration
        self._timeout_s = timeout_s
        self._wanted, self._twist = np.zeros(3), np.zeros(3)
        self._age_s = np.inf

    def command(self, vx: float, wz: float) -> None:
        """Ask for a twist [m/s], [rad/s]; one beyond the limits is slowed down as a whole."""
        self._wanted = self._kinematics.feasible(np.array([vx, 0.0, wz]))
        self._age_s = 0.0

    def wheels(self, dt_s: float) -> Float64:
        """Wheel speeds (left, right) [rad/s] for the next `dt_s`."""
        self._age_s += dt_s
        wanted = self._wanted if self._age_s <= self._timeout_s else np.zeros(3)
        step = self._acceleration * dt_s
        self._twist += np.clip(wanted - self._twist, -step, step)
        speeds: Float64 = self._kinematics.wheels @ self._twist
        return speeds
