"""Parameter schemas, ROS-free: one YAML file beside each node, from which declarations and documentation are made.

A schema maps each name to {type, description, read_only, unit, bounds, one_of}; it holds no values. Values live in
`config/*.yaml` only, or come from the launch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_core.errors import ConfigError
from vla_core.files import load_yaml

TYPES: dict[str, type] = {
    "bool": bool,
    "int": int,
    "double": float,
    "string": str,
    "string_array": str,
    "double_array": float,
}
_KEYS = {"type", "description", "read_only", "unit", "bounds", "one_of"}


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter.

    Attributes:
        name: Parameter name.
        type: Key of TYPES.
        description: One sentence.
        read_only: It can't change while the node runs.
        unit: Unit of the value, may be empty.
        bounds: Smallest and largest allowed number, inclusive; -inf and inf where there is none.
        one_of: Allowed texts; empty: any.
    """

    name: str
    type: str
    description: str
    read_only: bool
    unit: str
    bounds: tuple[float, float]
    one_of: tuple[str, ...]

    @property
    def is_array(self) -> bool:
        return self.type.endswith("_array")

    @property
    def bounded(self) -> bool:
        return self.bounds != (-math.inf, math.inf)

    def expectation(self) -> str:
        """What a good value looks like, e.g. 'double [s] in 0.1..60'."""
        text = self.type + (f" [{self.unit}]" if self.unit else "")
        if self.bounded:
            text += f" in {self.bounds[0]:g}..{self.bounds[1]:g}"
        if self.one_of:
            text += f", one of: {', '.join(self.one_of)}"
        return text

    def check(self, value: Any, source: str) -> Any:
        """Return `value` as an immutable Python value.

        Args:
            value: As rclpy or YAML gives it.
            source: Where the value is written down, for the message.

        Raises:
            ConfigError: wrong type, not finite, out of bounds or not one of the allowed texts.
        """
        items = list(value) if self.is_array and not isinstance(value, str) else [value]
        for item in items:
            if type(item) is not TYPES[self.type] or not self._allowed(item):
                raise ConfigError(f"parameter '{self.name}' = {value!r}", self.expectation(), f"mend {source}")
        return tuple(items) if self.is_array else value

    def _allowed(self, item: Any) -> bool:
        if isinstance(item, str):
            return not self.one_of or item in self.one_of
        return math.isfinite(item) and self.bounds[0] <= item <= self.bounds[1]


def load_schema(path: Path) -> tuple[ParameterSpec, ...]:
    """Read a schema file.

    Raises:
        ConfigError: unreadable, or an entry has unknown keys, an unknown type, no description or bad bounds.
    """
    return tuple(_spec(name, entry, path) for name, entry in load_yaml(path).items())


def values_file(schema_path: Path) -> str:
    """Where the values of a node live: 'config/perception.yaml' for a schema in package vla_perception."""
    return f"config/{schema_path.parents[1].name.removeprefix('vla_')}.yaml"


def _spec(name: str, entry: Any, path: Path) -> ParameterSpec:
    fix = f"mend '{name}' in {path.name}"
    if not isinstance(entry, dict) or not {"type", "description"} <= set(entry) or not set(entry) <= _KEYS:
        got = f"{sorted(entry)}" if isinstance(entry, dict) else repr(entry)
        raise ConfigError(f"schema entry {got}", f"type and description, and only {sorted(_KEYS)}", fix)
    if entry["type"] not in TYPES:
        raise ConfigError(f"parameter type '{entry['type']}'", f"one of {', '.join(TYPES)}", fix)
    bounds = entry.get("bounds", [None, None])
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise ConfigError(f"bounds {bounds}", "[smallest, largest], null where there is none", fix)
    low = -math.inf if bounds[0] is None else float(bounds[0])
    high = math.inf if bounds[1] is None else float(bounds[1])
    if low > high:
        raise ConfigError(f"bounds {bounds}", "smallest <= largest", fix)
    return ParameterSpec(
        name=name,
        type=entry["type"],
        description=str(entry["description"]),
        read_only=bool(entry.get("read_only", False)),
        unit=str(entry.get("unit", "")),
        bounds=(low, high),
        one_of=tuple(str(text) for text in entry.get("one_of", ())),
    )
