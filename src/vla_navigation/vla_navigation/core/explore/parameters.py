"""Tuning of the explorer; `config/navigation.yaml` has the numbers, the node's schema their meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vla_core.errors import ConfigError
from vla_navigation.core.from_config import from_config


@dataclass(frozen=True, slots=True)
class ExplorerParameters:
    """Parameters of `explorer_node`; units in the names.

    Raises:
        ConfigError: one that must be > 0 isn't, or the camera's limits are out of order.
    """

    camera_near_m: float
    camera_far_m: float
    camera_fov_rad: float
    clearance_m: float
    speed_m_s: float
    turn_rad_s: float
    min_gain_m2: float
    surface_weight: float
    surface_angle_rad: float
    chunk_m: float
    hysteresis: float
    blacklist_s: float
    max_attempts: int

    def __post_init__(self) -> None:
        fix = "correct explorer_node in config/navigation.yaml"
        zero = [name for name in self.__slots__ if name != "surface_weight" and getattr(self, name) <= 0]
        if zero:
            raise ConfigError(f"{', '.join(zero)} = 0", "numbers > 0", fix)
        if not self.camera_near_m < self.camera_far_m or self.camera_fov_rad > math.tau or self.hysteresis < 1.0:
            got = f"camera {self.camera_near_m} to {self.camera_far_m} m, {self.camera_fov_rad} rad, "
            got += f"hysteresis {self.hysteresis}"
            raise ConfigError(got, "near < far, an angle up to 2 pi, a hysteresis >= 1", fix)

    @classmethod
    def from_config(cls) -> ExplorerParameters:
        """Values of `config/navigation.yaml`.

        Raises:
            ConfigError: the file or a field is missing or broken.
        """
        return from_config(cls, "explorer_node")
