"""The running motion, seen from the observation that is being answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_core.actions import ActionAlgebra
from vla_core.contract import Contract
from vla_core.types import NS, Float32, Observation, Running
from vla_policy.core.processors import ToolPoseRelative

#: Strategies of the executor for which the policy has to draw differently.
CONTINUED = ("rtc_prefix", "rtc_guided", "bid")


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a new chunk has to agree with.

    Attributes:
        strategy: One of CONTINUED.
        actions: float32 (P,D), P <= T: where the running motion leads at the new chunk's steps 0..P-1, relative
            actions in physical units as the model has them. Never padded: steps beyond the running ones aren't here.
        delay_steps: How many of them will have been executed when the new chunk takes effect, 0..P.
    """

    strategy: str
    actions: Float32
    delay_steps: int


def continuation(
    running: Running | None, observation: Observation, contract: Contract, transform: ToolPoseRelative
) -> Continuation | None:
    """The running motion on the clock of a chunk that answers `observation`; None if there is nothing to continue."""
    if running is None or running.strategy not in CONTINUED or len(running.actions) < 2:
        return None
    times_ns = observation.stamp_ns + np.round(np.arange(contract.horizon) * contract.dt_s * NS)
    place = (times_ns - running.origin_ns) / (running.dt_s * NS)
    if place[0] < -1e-6:  # the running chunk begins later than this observation: nothing is known about its start
        return None
    place = place[place <= len(running.actions) - 1 + 1e-6]
    if not len(place):
        return None
    actions = ActionAlgebra(contract.action_names, contract.action_parts).at(running.actions.astype(np.float64), place)
    relative = transform.forward(actions.astype(np.float32), observation.state)
    return Continuation(running.strategy, relative, min(running.delay_steps, len(relative)))
