"""Tuning of executor and servo; the numbers stand in `config/control.yaml`, nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_origin, get_type_hints

from vla_control.core.strategies.registry import STRATEGIES
from vla_control.core.strategies.strategy import StrategyParameters
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import load_yaml, workspace_root
from vla_core.records import COMPLIANCE

#: What the arm is doing, as far as its stiffness is concerned; profiles have one factor for each.
PHASES = ("free", "approach", "contact", "grasp")
GRIPPER_MODES = ("continuous", "binary")
_T = TypeVar("_T", bound="_FromConfig")


class _FromConfig:
    """Builds a frozen dataclass of numbers and names from a mapping; every field is required."""

    NODE = ""

    @classmethod
    def from_mapping(cls: type[_T], values: Mapping[str, Any]) -> _T:
        """Take this class's fields out of `values`, which may hold more.

        Raises:
            ConfigError: a field is missing, not a number, negative or not finite.
        """
        file = f"{cls.NODE} in config/control.yaml"
        taken: dict[str, Any] = {}
        hints = get_type_hints(cls)
        for field in fields(cls):  # type: ignore[arg-type]
            if field.name not in values:
                raise ConfigError(f"no parameter '{field.name}' for {file}", "a value", "add it to the file")
            value, kind = values[field.name], hints[field.name]
            if kind is str:
                taken[field.name] = str(value)
                continue
            if get_origin(kind) is tuple:
                taken[field.name] = _numbers(field.name, value, file)
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0:
                raise ConfigError(f"{field.name} = {value!r} in {file}", "a finite number >= 0", "correct the file")
            taken[field.name] = kind(value)
        return cls(**taken)

    @classmethod
    def from_config(cls: type[_T]) -> _T:
        """Values of `config/control.yaml`.

        Raises:
            ConfigError: the file or a field is missing or broken.
        """
        path = workspace_root() / "config" / "control.yaml"
        try:
            values = load_yaml(path)[f"/**/{cls.NODE}"]["ros__parameters"]
        except (KeyError, TypeError) as error:
            got = f"{path.name} without '/**/{cls.NODE}: ros__parameters'"
            raise ConfigError(got, "that section", f"mend {path}") from error
        return cls.from_mapping(values)


def _numbers(name: str, values: Any, file: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{name} = {values!r} in {file}", "finite numbers", "correct the file")
    return numbers


@dataclass(frozen=True, slots=True)
class ServoParameters(_FromConfig):
    """Gains and clamps of the impedance controller; `config/control.yaml` explains each.

    Raises:
        ConfigError: the period or a stiffness is zero, or a profile hasn't one factor > 0 per phase.
        UnknownNameError: unknown compliance or phase.
    """

    NODE = "servo_node"

    period_s: float
    compliance: str
    compliance_blend_s: float
    phase: str
    phase_stiffness: tuple[float, ...]
    phase_force: tuple[float, ...]
    gain_time_s: float
    payload_kg: float
    payload_com_m: tuple[float, ...]
    stiffness_n_m: float
    stiffness_nm_rad: float
    damping_ratio: float
    error_clamp_m: float
    error_clamp_rad: float
    force_clamp_n: float
    torque_clamp_nm: float
    nullspace_stiffness_nm_rad: float
    nullspace_damping_nm_s_rad: float
    mobility_min_per_kg: float
    limit_margin_rad: float
    limit_stiffness_nm_rad: float
    limit_damping_nm_s_rad: float
    observer_rad_s: float
    friction_smoothing_rad_s: float
    admittance_mass_kg: float
    admittance_inertia_kg_m2: float
    admittance_damping_ratio: float
    admittance_deadband_n: float
    admittance_deadband_nm: float
    stale_state_s: float

    def __post_init__(self) -> None:
        fix = "correct config/control.yaml"
        for name in (
            "period_s",
            "compliance_blend_s",
            "gain_time_s",
            "stiffness_n_m",
            "stiffness_nm_rad",
            "force_clamp_n",
            "torque_clamp_nm",
            "friction_smoothing_rad_s",
            "admittance_mass_kg",
            "admittance_inertia_kg_m2",
        ):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} = {getattr(self, name)}", "a number > 0", fix)
        if self.compliance not in COMPLIANCE:
            raise UnknownNameError("compliance", self.compliance, COMPLIANCE)
        if self.phase not in PHASES:
            raise UnknownNameError("phase", self.phase, PHASES)
        for name in ("phase_stiffness", "phase_force"):
            factors = getattr(self, name)
            if len(factors) != len(PHASES) or min(factors) <= 0:
                raise ConfigError(f"{name} = {list(factors)}", f"a factor > 0 for each of {', '.join(PHASES)}", fix)
        if len(self.payload_com_m) != 3:
            raise ConfigError(f"payload_com_m = {list(self.payload_com_m)}", "x, y, z in the tool frame", fix)


@dataclass(frozen=True, slots=True)
class ExecutorParameters(_FromConfig):
    """How chunks become trajectories; `config/control.yaml` explains each.

    Raises:
        ConfigError: a duration is zero or out of order.
        UnknownNameError: unknown strategy or gripper mode.
    """

    NODE = "executor_node"

    strategy: str
    gripper_mode: str
    knot_dt_s: float
    commit_s: float
    blend_s: float
    blend_max_s: float
    max_chunk_age_s: float
    steps_per_spline_knot: float
    max_stretch: float
    leash_m: float
    leash_rad: float
    spline_smoothing: float
    ik_posture_rate_1_s: float
    execution_horizon: int
    window: int
    fade: int
    ensemble_decay: float
    ensemble_similarity: float
    ensemble_chunks: int
    delay_margin: float

    @property
    def strategies(self) -> StrategyParameters:
        """The part that strategies are made from."""
        return StrategyParameters(
            self.execution_horizon,
            self.window,
            self.fade,
            self.ensemble_decay,
            self.ensemble_similarity,
            self.ensemble_chunks,
        )

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UnknownNameError("strategy", self.strategy, STRATEGIES)
        if self.gripper_mode not in GRIPPER_MODES:
            raise UnknownNameError("gripper_mode", self.gripper_mode, GRIPPER_MODES)
        for name in (
            "knot_dt_s",
            "blend_s",
            "max_chunk_age_s",
            "steps_per_spline_knot",
            "execution_horizon",
            "window",
            "fade",
            "ensemble_chunks",
        ):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} = {getattr(self, name)}", "a number > 0", "correct config/control.yaml")
        if self.blend_max_s < self.blend_s or self.max_stretch < 1:
            got = f"blend_max_s = {self.blend_max_s}, max_stretch = {self.max_stretch}"
            raise ConfigError(got, "blend_max_s >= blend_s and max_stretch >= 1", "correct config/control.yaml")
