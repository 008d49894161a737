"""Velocity of the mobile base in its own frame: vx, vy [m/s] and wz [rad/s], each step holding for one period."""

from __future__ import annotations

import numpy as np

from vla_control.core.action_spaces.space import Active, Reference
from vla_core.action_parts import ActionPart
from vla_core.types import Float64

AXES = ("vx", "vy", "wz")


class BaseTwist:
    """Rows are the values; a step that isn't active stands still.

    Args:
        part: In the contract.
    """

    def __init__(self, part: ActionPart) -> None:
        self.part = self.absolute_part = part

    def check(self, values: Float64) -> None:
        """Speeds beyond the base's own are scaled down later, with the path's curvature kept."""

    def absolute(self, values: Float64, active: Active, reference: Reference) -> Float64:
        return np.where(active[:, None], values, 0.0)

    def relative(self, rows: Float64, reference: Reference) -> Float64:
        return rows

    def beyond(self, rows: Float64) -> Float64:
        return np.zeros_like(rows[-1:])

    def twists(self, rows: Float64) -> Float64:
        """Rows (R,n) as vx, vy, wz (R,3); an axis that the contract lacks is 0."""
        out = np.zeros((len(rows), len(AXES)))
        out[:, [AXES.index(name) for name in self.part.names]] = rows
        return out
