"""Tuning of the SLAM; the numbers stand in `config/navigation.yaml`, nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from vla_core.errors import ConfigError
from vla_core.files import load_yaml, workspace_root

_NODE = "slam_node"
_FIX = "correct config/navigation.yaml"


@dataclass(frozen=True, slots=True)
class SlamParameters:
    """Thresholds; `parameters/slam_node.yaml` explains each.

    Raises:
        ConfigError: a value isn't a finite number > 0, or a share is above 1.
    """

    resolution_m: float
    odometry_share: float
    degenerate_share: float
    keyframe_distance_m: float
    keyframe_overlap: float
    submap_keyframes: int
    least_overlap: float
    lost_after_m: float
    loop_radius_m: float
    loop_overlap: float
    relocalise_overlap: float
    relocalise_score: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0 or (value > 1 and _is_share(field.name)):
                raise ConfigError(f"{field.name} = {value!r}", "a number > 0, a share up to 1", _FIX)

    @classmethod
    def from_config(cls) -> SlamParameters:
        """Values of `config/navigation.yaml`.

        Raises:
            ConfigError: the file or a field is missing or broken.
        """
        path = workspace_root() / "config" / "navigation.yaml"
        try:
            values = load_yaml(path)[f"/**/{_NODE}"]["ros__parameters"]
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (KeyError, TypeError) as error:
            got = f"{path.name} without {error} in '/**/{_NODE}: ros__parameters'"
            raise ConfigError(got, "a value for every parameter", _FIX) from error


def _is_share(name: str) -> bool:
    return name.endswith(("overlap", "score")) or name == "degenerate_share"
