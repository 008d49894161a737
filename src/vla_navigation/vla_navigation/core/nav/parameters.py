"""Tuning of the navigator; `config/navigation.yaml` has the numbers, the node's schema their meaning."""

from __future__ import annotations

from dataclasses import dataclass

from vla_core.errors import ConfigError
from vla_navigation.core.from_config import from_config


@dataclass(frozen=True, slots=True)
class NavigatorParameters:
    """Parameters of `navigator_node`; units in the names.

    Raises:
        ConfigError: one that must be > 0 isn't.
    """

    period_s: float
    inflation_m: float
    inflation_weight: float
    allow_unknown: bool
    unknown_cost: float
    mark_range_m: float
    obstacle_memory_s: float
    overhead_memory_s: float
    goal_search_m: float
    replan_s: float
    samples: int
    horizon: int
    temperature: float
    noise_share: float
    backward_share: float
    goal_tolerance_m: float
    goal_tolerance_rad: float
    safety_margin_m: float
    latency_s: float
    moving_slow_m: float
    moving_near_m: float
    moving_slow_m_s: float
    stale_s: float
    blind_patience_s: float
    progress_m: float
    progress_s: float
    no_control_s: float
    wait_s: float
    back_up_m: float
    max_recoveries: int

    def __post_init__(self) -> None:
        zero = [name for name in self.__slots__ if name not in _MAY_BE_ZERO and getattr(self, name) <= 0]
        if zero:
            raise ConfigError(
                f"{', '.join(zero)} = 0", "numbers > 0", "correct navigator_node in config/navigation.yaml"
            )
        if self.moving_slow_m <= self.moving_near_m:
            got = f"moving_slow_m {self.moving_slow_m}, moving_near_m {self.moving_near_m}"
            raise ConfigError(got, "the first larger", "correct navigator_node in config/navigation.yaml")

    @classmethod
    def from_config(cls) -> NavigatorParameters:
        """Values of `config/navigation.yaml`.

        Raises:
            ConfigError: the file or a field is missing or broken.
        """
        return from_config(cls, "navigator_node")


_MAY_BE_ZERO = {"allow_unknown", "inflation_weight", "latency_s", "back_up_m", "max_recoveries", "goal_search_m"}
