"""One gripper column: a position, an effort, or open and closed.

| kind | value | meaning |
|---|---|---|
| position | 0 .. 1 | opening: 0 closed, 1 as wide as it goes |
| effort | -1 .. 1 | positive closes, negative opens, with this share of the largest force; 0 keeps what was |
| binary | 0 .. 1 | open above 0.6, closed below 0.4, else as before |

Values beyond are clipped. An effort below 0.05 is none: it neither opens nor closes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_control.core.action_spaces.space import Active, Reference
from vla_control.core.action_spaces.space import held as held_rows
from vla_core.action_parts import ActionPart
from vla_core.types import Float64

_OPEN_ABOVE, _CLOSED_BELOW = 0.6, 0.4
_LEAST_EFFORT = 0.05


@dataclass(frozen=True, slots=True)
class GripperSteps:
    """What grippers shall do, one row per step.

    Attributes:
        opening: (R,), or (R,G) of all grippers: 0 closed .. 1 open.
        force: Of the same shape: share of the largest force, 0 .. 1.
    """

    opening: Float64
    force: Float64


class Gripper:
    """Reads one column.

    Args:
        part: In the contract; its column has the gripper's name.
        index: Which of the robot's grippers it moves, in the robot file's order.
        binary: Read positions as open or closed too (executor parameter `gripper_mode: binary`).
    """

    def __init__(self, part: ActionPart, index: int, binary: bool) -> None:
        self.part = self.absolute_part = part
        self.index = index
        self._kind = "binary" if binary and part.kind == "position" else part.kind

    def check(self, values: Float64) -> None:
        """Values beyond the range are clipped."""

    def absolute(self, values: Float64, active: Active, reference: Reference) -> Float64:
        opening = reference.openings[self.index : self.index + 1]
        return held_rows(values, active, {"effort": np.zeros(1), "binary": np.full(1, 0.5)}.get(self._kind, opening))

    def relative(self, rows: Float64, reference: Reference) -> Float64:
        return rows

    def beyond(self, rows: Float64) -> Float64:
        return rows[-1:]

    def steps(self, values: Float64, opening: float, force: float) -> GripperSteps:
        """What values (R,) ask for.

        Args:
            opening, force: What the gripper was last told; kept while the values hesitate.
        """
        if self._kind == "position":
            return GripperSteps(np.clip(values, 0.0, 1.0), np.ones(len(values)))
        openings, forces = np.empty(len(values)), np.ones(len(values))
        is_open = opening > 0.5
        for i, value in enumerate(values):
            if self._kind == "binary":
                is_open = bool(value > _OPEN_ABOVE or (is_open and value >= _CLOSED_BELOW))
                opening = float(is_open)
            else:
                if abs(value) >= _LEAST_EFFORT:
                    opening, force = float(value < 0.0), min(abs(float(value)), 1.0)
                forces[i] = force
            openings[i] = opening
        return GripperSteps(openings, forces)
