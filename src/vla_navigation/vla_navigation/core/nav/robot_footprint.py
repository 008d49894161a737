"""Outline and height of a robot, as its file says."""

from __future__ import annotations

from vla_core.errors import ConfigError
from vla_core.files import config_path, load_yaml
from vla_navigation.core.nav.footprint import Footprint


def robot_footprint(robot: str) -> Footprint:
    """Footprint of `config/robots/<robot>.yaml`: section `navigation` with `radius_m`, or `outline_m` as corners x, y.

    Raises:
        UnknownNameError: no such robot.
        ConfigError: no such section, or not exactly one of the two in it, or an outline that is none.
    """
    path = config_path("robots", robot)
    section = load_yaml(path).get("navigation")
    if not isinstance(section, dict) or len({"radius_m", "outline_m"} & set(section)) != 1:
        got = f"{path.name} with navigation: {section}"
        raise ConfigError(got, "a section `navigation` with radius_m or outline_m", "choose a robot that drives")
    try:
        if "radius_m" in section:
            return Footprint.circle(float(section["radius_m"]))
        return Footprint.polygon([(float(x), float(y)) for x, y in section["outline_m"]])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path.name}: navigation: {error}", "numbers [m]", f"mend {path}") from error


def robot_height_m(robot: str) -> float:
    """`height_m` of the section `navigation`: what hangs lower is an obstacle; 0: no lidar in space tells.

    Raises:
        UnknownNameError: no such robot.
        ConfigError: not a length.
    """
    path = config_path("robots", robot)
    height = (load_yaml(path).get("navigation") or {}).get("height_m", 0.0)
    if not isinstance(height, int | float) or not 0.0 <= height < 10.0:
        raise ConfigError(f"{path.name}: navigation: height_m {height!r}", "a length [m]", f"mend {path}")
    return float(height)
