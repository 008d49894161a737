"""Joint displacements [rad]: from step to step, or all from the chunk's start (openpi's DeltaActions)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_control.core.action_spaces.space import Active, Reference, held
from vla_core.action_parts import ActionPart
from vla_core.types import Float64


class JointDelta:
    """q_i = q_ref + d_i from the chunk's start; q_{i+1} = q_i + d_i, q_0 = q_ref from step to step.

    Args:
        part: In the contract.
        joints: (J,) the robot's, in its own order.
    """

    def __init__(self, part: ActionPart, joints: tuple[str, ...]) -> None:
        self.part = part
        self.absolute_part = replace(part, space="joint_position", relative_to="", reference="")
        self._order = np.array([joints.index(name) for name in part.names])

    def check(self, values: Float64) -> None:
        """Limits are a matter of the joint path."""

    def absolute(self, values: Float64, active: Active, reference: Reference) -> Float64:
        first: Float64 = reference.q_rad[self._order]
        if not self.part.accumulates:
            return held(first + values, active, first)
        steps = np.where(active[:, None], values, 0.0)
        rows: Float64 = first + np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])
        return rows

    def relative(self, rows: Float64, reference: Reference) -> Float64:
        before = rows[:-1] if self.part.accumulates else reference.q_rad[self._order][None]
        after = rows[1:] if self.part.accumulates else rows
        steps: Float64 = after - before
        return steps

    def beyond(self, rows: Float64) -> Float64:
        return rows[-1:]
