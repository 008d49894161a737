"""Absolute tool poses in the robot's base frame: x y z [m] and a quaternion xyzw."""

from __future__ import annotations

import numpy as np

from vla_control.core.action_spaces.space import Active, Reference, held
from vla_core.action_parts import ActionPart
from vla_core.errors import ChunkError
from vla_core.types import Float64

_UNIT_SLACK = 0.1


class ToolPose:
    """Rows are the values.

    Args:
        part: In the contract.
    """

    def __init__(self, part: ActionPart) -> None:
        self.part = self.absolute_part = part

    def check(self, values: Float64) -> None:
        length = np.linalg.norm(values[:, 3:], axis=1)
        if np.any(np.abs(length - 1.0) > _UNIT_SLACK):
            got = f"a quaternion of length {length[np.argmax(np.abs(length - 1.0))]:.2f}"
            raise ChunkError(got, f"unit length within {_UNIT_SLACK}", "normalise it in the policy")

    def absolute(self, values: Float64, active: Active, reference: Reference) -> Float64:
        return held(values, active, reference.pose)

    def relative(self, rows: Float64, reference: Reference) -> Float64:
        return rows

    def beyond(self, rows: Float64) -> Float64:
        return rows[-1:]
