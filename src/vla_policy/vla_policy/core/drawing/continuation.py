"""The running motion, seen from the observation that is being answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.actions import ActionAlgebra
from vla_core.contract import Contract
from vla_core.strategies import BID, RTC_GUIDED, RTC_PREFIX
from vla_core.types import NS, Float32, Observation, Running
from vla_policy.core.executed import check_reference

#: Strategies of the executor for which the policy has to draw differently.
CONTINUED = (RTC_PREFIX, RTC_GUIDED, BID)


class Forward(Protocol):
    """Half of what stands between a contract's actions and a model's: `core/processors`, `checkpoints/actions`."""

    def forward(self, actions: NDArray[np.floating[Any]], state: NDArray[np.floating[Any]]) -> Float32:
        """(T,A) actions and (S,) state to the model's (T,D)."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a new chunk has to agree with.

    Attributes:
        strategy: One of CONTINUED.
        actions: float32 (P,D), P <= T: where the running motion leads at the new chunk's steps 0..P-1, as the
            transform of the policy tells the model's actions. Never padded: beyond the steps of the running chunk come
            only as many of its brake as will have been executed.
        delay_steps: How many of them will have been executed when the new chunk takes effect, 0..P.
    """

    strategy: str
    actions: Float32
    delay_steps: int


def continuation(
    running: Running | None, observation: Observation, contract: Contract, transform: Forward, longest: int
) -> Continuation | None:
    """The running motion on the clock of a chunk that answers `observation`; None if there is nothing to continue.

    Args:
        running: What the executor says.
        observation: That is being answered.
        contract: Of both.
        transform: To the model's actions.
        longest: Most steps that the policy can be given by RTC_PREFIX, for which it was trained.

    Raises:
        PolicyError: the contract's actions count from the start of a chunk, see `check_reference`.
    """
    if running is None or running.strategy not in CONTINUED or len(running.actions) < 2:
        return None
    check_reference(running.strategy, contract)
    times_ns = observation.stamp_ns + np.round(np.arange(contract.horizon) * contract.dt_s * NS)
    place = (times_ns - running.origin_ns) / (running.dt_s * NS)
    if place[0] < -1e-6:  # the running chunk begins later than this observation: nothing is known about its start
        return None
    delay = min(running.delay_steps, longest if running.strategy == RTC_PREFIX else contract.horizon)
    known = min(running.fresh, len(running.actions))
    wanted = (place <= known - 1 + 1e-6) | ((np.arange(len(place)) < delay) & (place <= len(running.actions) - 1))
    place = place[wanted]
    if not len(place):
        return None
    actions = ActionAlgebra(contract.action_names, contract.action_parts).at(running.actions.astype(np.float64), place)
    relative = transform.forward(actions.astype(np.float32), observation.state)
    return Continuation(running.strategy, relative, min(delay, len(relative)))
