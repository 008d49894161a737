"""Residual correction (Sendai et al., "Leave No Observation Behind: Real-time Correction for VLA Action Chunks", 2025,
A2C2): while a large policy thinks, a small head corrects what is left of its last chunk by every new observation.

    a'_{t+k} = a_{t+k} + r(o_{t+k}, a_{t+k}, k)
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from vla_core.actions import ActionAlgebra
from vla_core.contract import Contract
from vla_core.types import NS, Float32, Observation

STRATEGY = "a2c2"


@runtime_checkable
class Corrector(Protocol):
    """A policy that may have such a head."""

    @property
    def corrects(self) -> bool:
        """Whether this one has."""

    def correct(self, actions: Float32, first: int, observation: Observation) -> Float32:
        """What is left of an earlier chunk, corrected by what is seen now: (N,A).

        Args:
            actions: (N,A), due from the observation's stamp on.
            first: Number of the first one in its chunk.
            observation: The newest one.
        """


def correction_of(policy: object, contract: Contract) -> ChunkCorrection | None:
    """What corrects a policy's chunks; None for a policy that can't."""
    return ChunkCorrection(policy, contract) if isinstance(policy, Corrector) and policy.corrects else None


class ChunkCorrection:
    """Keeps the newest chunk of the policy and corrects what is left of it."""

    def __init__(self, corrector: Corrector, contract: Contract) -> None:
        self._corrector, self._contract = corrector, contract
        self._algebra = ActionAlgebra(contract.action_names)
        self._actions: Float32 | None = None
        self._stamp_ns, self._instruction = 0, ""

    def take(self, actions: Float32, stamp_ns: int, instruction: str) -> None:
        """The policy's newest chunk (T,A), which answers the observation stamped so, with this instruction."""
        self._actions, self._stamp_ns, self._instruction = actions, stamp_ns, instruction

    def drop(self) -> None:
        """Forget it: another episode."""
        self._actions = None

    def correct(self, observation: Observation) -> Float32 | None:
        """What is left, from the observation's stamp on (N,A); None if less than two steps are, or for another task."""
        if self._actions is None or observation.stamp_ns < self._stamp_ns:
            return None
        if observation.instruction != self._instruction:
            return None
        begin = (observation.stamp_ns - self._stamp_ns) / (self._contract.dt_s * NS)
        place = begin + np.arange(len(self._actions))
        place = place[place <= len(self._actions) - 1 + 1e-6]
        if len(place) < 2:
            return None
        left = self._algebra.at(self._actions.astype(np.float64), place.astype(np.float64)).astype(np.float32)
        return self._corrector.correct(left, round(begin), observation)
