"""Residual correction (Sendai et al., "Leave No Observation Behind: Real-time Correction for VLA Action Chunks", 2025,
arXiv:2509.23224, A2C2): while a large policy thinks, a small head corrects what is left of its last chunk by every new
observation.

    a'_{t+k} = a_{t+k} + r(o_{t+k}, a_{t+k}, k)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from vla_core.actions import ActionAlgebra
from vla_core.contract import Contract
from vla_core.strategies import A2C2
from vla_core.types import NS, Float32, Observation
from vla_policy.core.policy import Policy, PolicyOutput


@runtime_checkable
class Corrector(Protocol):
    """A policy that may have such a head; A2C2 in `strategies` says whether it has."""

    def correct(self, actions: Float32, first: int, observation: Observation) -> Float32:
        """What is left of an earlier chunk, corrected by what is seen now: (N,A). May run beside `predict`.

        Args:
            actions: (N,A), due from the observation's stamp on.
            first: Number of the first one in its chunk.
            observation: The newest one.
        """


def correction_of(policy: Policy, contract: Contract) -> ChunkCorrection | None:
    """What corrects a policy's chunks; None for a policy that can't."""
    return ChunkCorrection(policy, contract) if isinstance(policy, Corrector) and A2C2 in policy.strategies else None


class ChunkCorrection:
    """Keeps the newest answer of the policy and corrects what is left of its chunk; two threads may share it."""

    def __init__(self, corrector: Corrector, contract: Contract) -> None:
        self._corrector, self._contract = corrector, contract
        self._algebra = ActionAlgebra(contract.action_names, contract.action_parts)
        self._kept: tuple[PolicyOutput, int, str] | None = None

    def take(self, output: PolicyOutput, stamp_ns: int, instruction: str) -> None:
        """The policy's newest answer, to the observation stamped so, with this instruction."""
        self._kept = (output, stamp_ns, instruction)

    def drop(self) -> None:
        """Forget it: another episode."""
        self._kept = None

    def correct(self, observation: Observation) -> PolicyOutput | None:
        """The answer with what is left of its chunk from the observation's stamp on, (N,A), corrected.

        None if less than two steps are left, or for another task.
        """
        kept = self._kept
        if kept is None or observation.stamp_ns < kept[1] or observation.instruction != kept[2]:
            return None
        output, stamp_ns, _ = kept
        begin = (observation.stamp_ns - stamp_ns) / (self._contract.dt_s * NS)
        place = begin + np.arange(len(output.actions))
        place = place[place <= len(output.actions) - 1 + 1e-6]
        if len(place) < 2:
            return None
        left = self._algebra.at(output.actions.astype(np.float64), place.astype(np.float64)).astype(np.float32)
        return replace(output, actions=self._corrector.correct(left, round(begin), observation))
