"""The scripted expert in the place of a policy: it answers an observation from a copy of the world at its stamp."""

from __future__ import annotations

import numpy as np

from vla_core.contract import Contract
from vla_core.errors import ContractError, ObservationError, PolicyError
from vla_core.types import Observation, Running
from vla_policy.core.policy import PolicyOutput
from vla_policy.core.preset import EXPERT
from vla_sim.core.link import WatchfulPeer
from vla_sim.core.mirror import Mirror
from vla_sim.core.records import SNAPSHOT
from vla_sim.core.scene_parts import load_scene
from vla_sim.core.suites import suite_of

_WAIT_S = 0.2  # a snapshot is written before its pictures are taken, so it is there


class ExpertPolicy:
    """A Policy that reads ground truth from the simulator's link; see `vla_policy.core.policy.Policy`.

    Args:
        scene: Name of the scene file.
        link: Of the simulator.
        contract: Of observations and chunks.

    Raises:
        ContractError: the scene's expert acts by another contract.
    """

    name = EXPERT
    strategies = frozenset[str]()

    def __init__(self, scene: str, link: str, contract: Contract) -> None:
        expected = load_scene(scene)["contract"]
        if contract.name != expected:
            raise ContractError(f"contract '{contract.name}'", f"'{expected}' for scene '{scene}'", "launch with it")
        self.contract_hash = contract.hash
        self._contract, self._suite = contract, suite_of(scene)
        self._mirror = Mirror(self._suite.make_world(scene))
        self._snapshots = WatchfulPeer(link, "snapshot", SNAPSHOT)

    def predict(self, observation: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        """Roll the expert's rule out from the world as it was at the observation's stamp.

        Raises:
            PolicyError: the expert can't do anything for the task from here.
            ObservationError: the simulator's newest snapshot is of another instant, or nobody has said what to do.
        """
        if observation.stamp_ns > 0 and not observation.instruction.strip():
            raise ObservationError("no instruction", "a sentence that says what to do", "publish one on `instruction`")
        if observation.stamp_ns > 0:  # 0: an observation to warm up with; any world will do
            self._follow(observation.stamp_ns)
        world, contract, hand = self._mirror.world, self._contract, self._suite.hand
        try:
            if hand is None:
                actions = self._suite.clean_chunk(world, contract.horizon, contract.dt_s)
            else:
                actions = hand.chunk(world, observation.instruction, contract.horizon, contract.dt_s)
        except PolicyError:
            if observation.stamp_ns > 0:
                raise
            actions = np.zeros((contract.horizon, len(contract.action_names)), np.float32)  # nobody will see them
        done = self._suite.succeeded(world) if hand is None else hand.done(world, observation.instruction)
        return PolicyOutput(actions, float(done), float(done))

    def close(self) -> None:
        """Let go of the link."""
        self._snapshots.close()

    def _follow(self, stamp_ns: int) -> None:
        if self._snapshots.wait(0.0) or (self._mirror.stamp_ns < stamp_ns and self._snapshots.wait(_WAIT_S)):
            self._mirror.take(self._snapshots.record)
        if self._mirror.stamp_ns != stamp_ns:
            got = f"a snapshot {(self._mirror.stamp_ns - stamp_ns) * 1e-9:+.3f} s from the observation"
            raise ObservationError(got, "one of the same instant", "run the world in lockstep, or wait for the next")
