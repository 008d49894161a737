"""Absolute joint positions [rad], as in ACT, SmolVLA and most teleoperation data."""

from __future__ import annotations

import numpy as np

from vla_control.core.action_spaces.space import Active, Reference, held
from vla_core.action_parts import ActionPart
from vla_core.types import Float64


class JointPosition:
    """Rows are the values.

    Args:
        part: In the contract.
        joints: (J,) the robot's, in its own order.
    """

    def __init__(self, part: ActionPart, joints: tuple[str, ...]) -> None:
        self.part = self.absolute_part = part
        self._order = np.array([joints.index(name) for name in part.names])

    def check(self, values: Float64) -> None:
        """Limits are a matter of the joint path."""

    def absolute(self, values: Float64, active: Active, reference: Reference) -> Float64:
        return held(values, active, reference.q_rad[self._order])

    def relative(self, rows: Float64, reference: Reference) -> Float64:
        return rows

    def beyond(self, rows: Float64) -> Float64:
        return rows[-1:]
