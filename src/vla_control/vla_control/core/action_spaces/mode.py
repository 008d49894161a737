"""RT-1's mode switch: each step moves the arm or the base, or ends the task (Brohan et al., "RT-1", 2022)."""

from __future__ import annotations

import numpy as np

from vla_control.core.action_spaces.space import Active, Reference
from vla_core.action_parts import MODES, ActionPart
from vla_core.errors import ChunkError
from vla_core.types import Float64

_SLACK = 0.01
ARM, BASE, TERMINATE = range(len(MODES))


class Mode:
    """Rows are the values: indices into MODES.

    Args:
        part: In the contract.
    """

    def __init__(self, part: ActionPart) -> None:
        self.part = self.absolute_part = part

    def check(self, values: Float64) -> None:
        bad = ~np.isclose(values, np.clip(np.round(values), ARM, TERMINATE), atol=_SLACK)
        if bad.any():
            step = int(np.argmax(bad[:, 0]))
            known = ", ".join(f"{i} {name}" for i, name in enumerate(MODES))
            raise ChunkError(f"step {step} with mode {values[step, 0]:g}", f"one of: {known}", "send the index")

    def absolute(self, values: Float64, active: Active, reference: Reference) -> Float64:
        return np.round(values)

    def relative(self, rows: Float64, reference: Reference) -> Float64:
        return rows

    def beyond(self, rows: Float64) -> Float64:
        return rows[-1:]
