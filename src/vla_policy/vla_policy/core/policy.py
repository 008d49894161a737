"""Stage 2 without ROS: what a policy is, and how one is loaded by the name of its preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vla_core.contract import Contract
from vla_core.errors import PolicyError
from vla_core.registry import Registry
from vla_core.strategies import OF_POLICY
from vla_core.types import Float32, Observation, Running
from vla_policy.core.preset import SYSTEM, Preset, load_preset


@dataclass(frozen=True, slots=True)
class GroundedRoles:
    """Where a policy sees what the instruction is about, for people who want to know why it acts.

    Attributes:
        uv: float32 (V,R,2) image positions, -1..1, x right, y down.
        presence: float32 (V,R) probability of being visible.
        xyz_m: float32 (R,3) places in the robot base frame [m].
    """

    uv: Float32
    presence: Float32
    xyz_m: Float32


@dataclass(frozen=True, slots=True)
class PolicyOutput:
    """Answer to one observation.

    Attributes:
        actions: float32 (T,A) in the contract's action space, order and units.
        progress: 0..1.
        success_estimate: Probability that the instruction is carried out, 0..1.
        subtask: Text of the sub-task that is followed, may be empty.
        roles: What was seen, for policies that can tell.
    """

    actions: Float32
    progress: float
    success_estimate: float
    subtask: str = ""
    roles: GroundedRoles | None = None


class Policy(Protocol):
    """Turns observations into action chunks. One thread at a time.

    Attributes:
        contract_hash: Contract of observations and chunks.
        name: Of its preset.
        strategies: Those of `vla_core.strategies.OF_POLICY` that it serves.
    """

    contract_hash: str
    name: str
    strategies: frozenset[str]

    def predict(self, observation: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        """Answer an observation; the same observation, seed and running motion give the same answer.

        Args:
            observation: What is to be answered.
            seed: Of the sampling noise.
            running: What is being executed meanwhile, for policies that can continue it; others leave it out.

        Raises:
            ObservationError: the observation doesn't satisfy the contract, or there is no instruction.
            UnknownObjectError: the instruction names something that was never taught.
            PolicyError: the model gave something that isn't finite.
        """


def check_strategy(strategy: str, served: frozenset[str], policy: str) -> None:
    """Refuse a strategy that needs what a policy can't do; it would only bear the strategy's name.

    Args:
        strategy: Of the executor.
        served: The policy's `strategies`.
        policy: Its name.

    Raises:
        PolicyError: it doesn't serve the strategy.
    """
    if strategy in OF_POLICY and strategy not in served:
        can = ", ".join(sorted(served)) or "only those of the executor"
        fix = "choose another strategy in config/control.yaml, or another policy"
        raise PolicyError(
            f"strategy '{strategy}' with policy '{policy}', which serves {can}", "one that it serves", fix
        )


Factory = Callable[[Preset, Contract, str, Path | None], Policy]

#: Factories by the preset's `policy` key; other packages add theirs by entry points of this group.
POLICIES: Registry[Factory] = Registry("policy", "vla_policy.policies")


@POLICIES.register("keypoint_flow")
def _keypoint_flow(preset: Preset, contract: Contract, backend: str, weights: Path | None) -> Policy:
    from vla_policy.core.keypoint_policy import KeypointPolicy

    return KeypointPolicy.load(preset, contract, backend, weights)


@POLICIES.register("target_flow")
def _target_flow(preset: Preset, contract: Contract, backend: str, weights: Path | None) -> Policy:
    from vla_policy.core.target_policy import TargetPolicy

    return TargetPolicy.load(preset, contract, weights)


@POLICIES.register(SYSTEM)
def _system(preset: Preset, contract: Contract, backend: str, weights: Path | None) -> Policy:
    from vla_policy.core.system_policy import SystemPolicy

    return SystemPolicy.load(preset, contract, backend, weights)


@POLICIES.register("lerobot")
def _lerobot(preset: Preset, contract: Contract, backend: str, weights: Path | None) -> Policy:
    from vla_policy.checkpoints.lerobot_policy import LerobotPolicy

    return LerobotPolicy.load(preset, contract, weights)


@POLICIES.register("openvla")
def _openvla(preset: Preset, contract: Contract, backend: str, weights: Path | None) -> Policy:
    from vla_policy.checkpoints.openvla_policy import OpenVlaPolicy

    return OpenVlaPolicy.load(preset, contract, weights)


def load_policy(preset: str, contract: Contract, backend: str = "auto", weights: str | None = None) -> Policy:
    """Load the policy of a preset.

    Args:
        preset: Name in `config/policies/`, or a .yaml file.
        contract: Contract of the observations that it will be given.
        backend: 'auto' (torch on a GPU, else OpenVINO; for systems see SystemPolicy), 'openvino' or 'torch'.
        weights: Weight file instead of the preset's.

    Raises:
        UnknownNameError: no such preset, policy or backend.
        PolicyError: it can't be loaded (WeightsError: its weight file is missing, corrupt or of another contract).
    """
    chosen = load_preset(preset)
    policy = POLICIES.get(chosen.policy)(chosen, contract, backend, None if weights is None else Path(weights))
    if policy.contract_hash != contract.hash:
        got = f"policy '{preset}' for contract {policy.contract_hash}"
        raise PolicyError(got, f"contract {contract.hash} ({contract.name})", f"use contract {chosen.contract}")
    return policy
