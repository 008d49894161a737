"""What an action space is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.action_parts import ActionPart
from vla_core.types import Float64

Active = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reference:
    """The robot at a chunk's capture stamp.

    Attributes:
        q_rad: (J,) by the robot file's joint order.
        pose: (7,) of the tool, base frame, x y z [m] qx qy qz qw.
        openings: (G,) commanded opening of each gripper, 0 closed .. 1 open.
    """

    q_rad: Float64
    pose: Float64
    openings: Float64


class Space(Protocol):
    """One part of an action.

    Attributes:
        part: In the contract.
        absolute_part: The same in absolute rows (their columns are of no meaning yet).
    """

    part: ActionPart
    absolute_part: ActionPart

    def check(self, values: Float64) -> None:
        """Raise ChunkError when values (T,n) can't be meant."""

    def absolute(self, values: Float64, active: Active, reference: Reference) -> Float64:
        """Absolute rows (T,m) of values (T,n), or (T+1,m) where steps accumulate; a step not `active` (T,) is left out.

        Row i is where to be at t0 + i dt; of base twists, what holds from then on.
        """

    def relative(self, rows: Float64, reference: Reference) -> Float64:
        """The inverse of `absolute`, with every step active."""

    def beyond(self, rows: Float64) -> Float64:
        """What follows the last row (1,m), for rows that must be as many as those of a part that accumulates."""


def held(rows: Float64, active: Active, first: Float64) -> Float64:
    """Rows (T,m) in which a step that isn't active (T,) keeps the row before it, the first one `first` (m,)."""
    if active.all():
        return rows
    last = np.maximum.accumulate(np.where(active, np.arange(len(rows)), -1))
    kept: Float64 = np.where((last >= 0)[:, None], rows[np.maximum(last, 0)], first)
    return kept
