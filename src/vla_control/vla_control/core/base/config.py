"""The base of a robot file: drive, wheels and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vla_core.errors import ConfigError, UnknownNameError
from vla_core.types import Float64

#: Drives and the axes that each can move along.
DRIVES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"differential": ("vx", "wz"), "holonomic": ("vx", "vy", "wz")}
)


@dataclass(frozen=True, slots=True)
class BaseConfig:
    """Section `base` of `config/robots/<name>.yaml`; arrays are float64 (3,) for vx, vy, wz.

    Attributes:
        drive: Key of DRIVES; holonomic: four mecanum wheels.
        frame: Frame of the twist, x ahead, y to the left.
        wheel_radius_m: Radius of each wheel.
        wheel_speed_rad_s: Largest speed of each wheel.
        track_m: Distance between left and right wheels.
        wheelbase_m: Distance between front and rear axles; 0 for a differential drive.
        velocity, acceleration, jerk: Limits [m/s, m/s, rad/s], [.../s], [.../s^2]; vy of a differential drive is 0.
    """

    drive: str
    frame: str
    wheel_radius_m: float
    wheel_speed_rad_s: float
    track_m: float
    wheelbase_m: float
    velocity: Float64
    acceleration: Float64
    jerk: Float64

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that it can move along."""
        return DRIVES[self.drive]


def parse_base(data: Mapping[str, Any], path: Path) -> BaseConfig:
    """Turn the section into a BaseConfig; `path` is only used in messages.

    Raises:
        KeyError, TypeError, ValueError: a key is missing or no number.
        UnknownNameError: no such drive.
        ConfigError: a number is not > 0, or an axis has limits that the drive can't use.
    """
    drive = str(data["drive"])
    if drive not in DRIVES:
        raise UnknownNameError("drive", drive, DRIVES)
    axes = DRIVES[drive]
    limits = {key: _axes(data["limits"][key], axes, path) for key in ("velocity", "acceleration", "jerk")}
    config = BaseConfig(
        drive=drive,
        frame=str(data["frame"]),
        wheel_radius_m=float(data["wheel_radius_m"]),
        wheel_speed_rad_s=float(data["wheel_speed_rad_s"]),
        track_m=float(data["track_m"]),
        wheelbase_m=float(data["wheelbase_m"]) if drive == "holonomic" else 0.0,
        **limits,
    )
    lengths = [config.wheel_radius_m, config.wheel_speed_rad_s, config.track_m]
    if not all(np.isfinite(value) and value > 0 for value in lengths) or config.wheelbase_m < 0:
        raise ConfigError(f"{path.name}: base with {lengths}", "wheel and track sizes > 0", f"mend {path}")
    return config


def _axes(values: Mapping[str, Any], axes: tuple[str, ...], path: Path) -> Float64:
    if set(values) != set(axes):
        raise ConfigError(f"{path.name}: base limits for {sorted(values)}", f"those of {list(axes)}", f"mend {path}")
    array = np.array([float(values[axis]) if axis in axes else 0.0 for axis in DRIVES["holonomic"]])
    if not np.all(np.isfinite(array)) or any(float(values[axis]) <= 0 for axis in axes):
        raise ConfigError(f"{path.name}: base limits {dict(values)}", "numbers > 0", f"mend {path}")
    array.setflags(write=False)
    return array
