"""A column by which the policy ends the task, such as `terminate_episode` of the Open X-Embodiment data sets."""

from __future__ import annotations

from vla_control.core.action_spaces.space import Active, Reference
from vla_core.action_parts import ActionPart
from vla_core.types import Float64

ENDS_FROM = 0.5


class Terminate:
    """Rows are the values: a probability, or 0 and 1.

    Args:
        part: In the contract.
    """

    def __init__(self, part: ActionPart) -> None:
        self.part = self.absolute_part = part

    def check(self, values: Float64) -> None:
        """Any number is below ENDS_FROM or not."""

    def absolute(self, values: Float64, active: Active, reference: Reference) -> Float64:
        return values

    def relative(self, rows: Float64, reference: Reference) -> Float64:
        return rows

    def beyond(self, rows: Float64) -> Float64:
        return rows[-1:]
