"""Displacements of the tool (`vla_core.tool_steps`): from step to step, or all from the chunk's start.

From step to step in the base frame is what RT-1 and OpenVLA learn from (Brohan et al., "RT-1", 2022; Kim et al.,
"OpenVLA", 2024); all from the chunk's start, in the frame that the tool had then, is the relative trajectory of Chi et
al., "Universal Manipulation Interface", 2024, section IV-B.
"""

from __future__ import annotations

import numpy as np

from vla_control.core.action_spaces.space import Active, Reference, held
from vla_core import tool_steps
from vla_core.action_parts import RULES, ActionPart
from vla_core.errors import ChunkError
from vla_core.types import Float64


class ToolDelta:
    """P_i = P_ref ∘ d_i from the chunk's start; P_{i+1} = P_i ∘ d_i, P_0 = P_ref from step to step.

    Args:
        part: In the contract.
    """

    def __init__(self, part: ActionPart) -> None:
        names = RULES["tool_pose"].names
        self.part = part
        self.absolute_part = ActionPart("tool_pose", tuple(range(len(names))), names)

    def check(self, values: Float64) -> None:
        angle = np.linalg.norm(values[:, 3:], axis=1)
        if np.any(angle > np.pi + 1e-3):
            got = f"step {int(np.argmax(angle))} with a rotation vector of {angle.max():.2f} rad"
            raise ChunkError(got, "at most pi: the shorter way round", "check the action's units")

    def absolute(self, values: Float64, active: Active, reference: Reference) -> Float64:
        if self.part.accumulates:
            return tool_steps.accumulated(reference.pose, np.where(active[:, None], values, 0.0), self.part.frame)
        return held(tool_steps.moved(reference.pose[None], values, self.part.frame), active, reference.pose)

    def relative(self, rows: Float64, reference: Reference) -> Float64:
        if self.part.accumulates:
            return tool_steps.between(rows[:-1], rows[1:], self.part.frame)
        return tool_steps.between(reference.pose[None], rows, self.part.frame)

    def beyond(self, rows: Float64) -> Float64:
        return rows[-1:]
