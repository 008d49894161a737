"""A checkpoint's own units against the contract's: published weights draw what their data set held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.contract import Contract
from vla_core.errors import ConfigError
from vla_core.types import Float32


@dataclass(frozen=True, slots=True)
class Units:
    """contract = scale * drawn + offset, float32 (A,) each, by the contract's columns.

    For LIBERO, whose step of 1 is 0.05 m or 0.5 rad: scale 0.05, 0.5. For OpenVLA's gripper, 0 closed and 1 open,
    under an effort of -1 (opens) to 1: scale -2, offset 1.
    """

    scale: Float32
    offset: Float32

    def forward(self, drawn: Float32) -> Float32:
        """Actions (T,A) as drawn, in the contract's units."""
        return (self.scale * drawn + self.offset).astype(np.float32)

    def inverse(self, actions: Float32) -> Float32:
        """Actions (T,A) of the contract in the checkpoint's units."""
        return ((actions - self.offset) / self.scale).astype(np.float32)


def units(contract: Contract, scale: tuple[float, ...], offset: tuple[float, ...]) -> Units:
    """What a preset's `scale` and `offset` say; empty where the units are the same.

    Raises:
        ConfigError: not one number per column of the action, or a scale of zero.
    """
    size = len(contract.action_names)
    found = []
    for name, given, neutral in (("scale", scale, 1.0), ("offset", offset, 0.0)):
        numbers = given or (neutral,) * size
        right = all(isinstance(x, int | float) and not isinstance(x, bool) and np.isfinite(x) for x in numbers)
        if len(numbers) != size or not right or (name == "scale" and 0 in numbers):
            got = f"model: {name} {list(given)}"
            raise ConfigError(got, f"{size} finite numbers, no scale of 0", f"one for each of {contract.action_names}")
        found.append(np.array(numbers, np.float32))
    return Units(*found)
