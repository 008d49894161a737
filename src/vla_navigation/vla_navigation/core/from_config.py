"""Parameters of the navigation nodes; the numbers stand in `config/navigation.yaml`, nowhere else."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TypeVar

from vla_core.errors import ConfigError
from vla_core.files import load_yaml, workspace_root

T = TypeVar("T")


def from_config(cls: type[T], node: str) -> T:
    """A frozen dataclass of numbers and truth values, each field out of the node's section, which may hold more.

    Raises:
        ConfigError: a section or field is missing, or a number isn't finite and >= 0.
    """
    path = workspace_root() / "config" / "navigation.yaml"
    try:
        values = load_yaml(path)[f"/**/{node}"]["ros__parameters"]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path.name} without '/**/{node}: ros__parameters'", "that section", "add it") from error
    taken = {}
    for field in fields(cls):  # type: ignore[arg-type]
        value = values.get(field.name)
        if not isinstance(value, bool | int | float) or not math.isfinite(value) or value < 0:
            got = f"{field.name} = {value!r} for {node} in {path.name}"
            raise ConfigError(got, "a finite number >= 0", "correct the file")
        taken[field.name] = value
    return cls(**taken)
