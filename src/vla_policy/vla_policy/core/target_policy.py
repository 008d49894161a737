"""The TargetFlow model as a policy: tracked targets in, chunk out; continues, looks ahead or corrects as asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vla_core import rotations
from vla_core.contract import Contract
from vla_core.errors import PolicyError
from vla_core.strategies import OF_POLICY
from vla_core.types import Float32, Observation, Running
from vla_policy.core.backends import Decoding
from vla_policy.core.drawing.continuation import continuation
from vla_policy.core.drawing.draw import draw, samples_needed
from vla_policy.core.drawing.field import Field, Velocity
from vla_policy.core.drawing.future_state import Gripper, roll_forward
from vla_policy.core.keypoint_policy import check_observation
from vla_policy.core.models.target_flow import Situation, TargetFlow, configure
from vla_policy.core.openvino_graph import Run, compiled
from vla_policy.core.policy import PolicyOutput
from vla_policy.core.preset import Preset, parse
from vla_policy.core.processors import action_transform
from vla_policy.core.weights import fill, load_weights


@dataclass(frozen=True, slots=True)
class SituationReader:
    """Finds what `Situation` needs in the contract's state vector."""

    tool: slice
    width: slice
    position: slice
    velocity: slice

    @classmethod
    def of(cls, contract: Contract) -> SituationReader:
        """Columns by key.

        Raises:
            ContractError: the contract has no tracked targets.
        """
        keys = ("tool_pose", "gripper_width", "target_position", "target_velocity")
        return cls(*(contract.state_slice(key) for key in keys))

    def read(self, state: Float32, age_s: Float32) -> Situation:
        """State vectors (B,S) and how old their targets are (B,)."""
        pose = state[:, self.tool].astype(np.float64)
        matrix = rotations.to_matrix(pose[:, 3:])
        tool = np.concatenate([pose[:, :3], matrix[..., 0], matrix[..., 1]], 1).astype(np.float32)
        places = (state[:, part].reshape(len(state), -1, 3) for part in (self.position, self.velocity))
        parts = (tool, state[:, self.width][:, 0], *places, age_s)
        return Situation(*(torch.from_numpy(np.ascontiguousarray(part, np.float32)) for part in parts))


@dataclass(frozen=True, slots=True)
class TargetTraining:
    """What a model was trained for: most given steps, and most steps that targets are older than the tool."""

    prefix_steps: int
    longest_offset_steps: int
    gripper: Gripper

    @classmethod
    def of(cls, preset: Preset) -> TargetTraining:
        """From a preset's `training`.

        Raises:
            ConfigError: a key is missing or of a wrong type.
        """
        gripper = parse(Gripper, preset.training.get("gripper"), f"{preset.name}.yaml: training: gripper")
        return cls(int(preset.training["prefix_steps"]), int(preset.training["longest_offset_steps"]), gripper)


class _Velocity(nn.Module):
    """What is compiled."""

    def __init__(self, model: TargetFlow) -> None:
        super().__init__()
        self.model = model

    def forward(self, actions: Tensor, time: Tensor, keys_values: Tensor) -> Tensor:
        """Velocity (1,T,D) at actions (1,T,D) and times (1,T)."""
        return self.model.head.velocity(actions, time, keys_values)


class TargetPolicy:
    """See `core/models/target_flow.py` for the model."""

    strategies = frozenset(OF_POLICY)

    def __init__(
        self, name: str, contract: Contract, model: TargetFlow, decoding: Decoding, trained: TargetTraining
    ) -> None:
        self.name, self.contract, self.contract_hash = name, contract, contract.hash
        self.model = model.eval().requires_grad_(False)
        self.transform, self._reader = action_transform(contract), SituationReader.of(contract)
        self._steps, self._trained = decoding.steps, trained
        self._run: Run | None = None

    @classmethod
    def load(cls, preset: Preset, contract: Contract, weights: Path | None) -> TargetPolicy:
        """Load a preset's weights.

        Raises:
            WeightsError: the weight file is missing, corrupt, of another contract or of another size.
            ConfigError: the preset is broken.
        """
        path = preset.weights_path() if weights is None else weights
        tensors, _ = load_weights(path, contract.hash)
        model = TargetFlow(configure(preset.model, contract))
        fill(model, tensors, path.name)
        decoding = parse(Decoding, preset.decoding, f"{preset.name}.yaml: decoding").check()
        return cls(preset.name, contract, model, decoding, TargetTraining.of(preset))

    @torch.no_grad()
    def predict(self, observation: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        """See Policy."""
        check_observation(observation, self.contract)
        ahead = roll_forward(
            running, observation, self.contract, self._trained.longest_offset_steps, self._trained.gripper
        )
        state, age_s = (observation.state, 0.0) if ahead is None else (ahead.state, ahead.offset_s)
        keys_values = self.model.keys_values(self._situation(state, age_s))
        followed = continuation(running, observation, self.contract, self.transform, self._trained.prefix_steps)
        shape = (samples_needed(followed), self.contract.horizon, self.transform.width)
        noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))

        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            return self.model.head.velocity(actions, time, keys_values)

        field = Field(self._fast(keys_values), velocity)
        scale = self.model.action_mean, self.model.action_std
        chunk = draw(field, noise, self._steps, followed, *scale)[0].numpy()
        if not np.isfinite(chunk).all():
            raise PolicyError("a chunk with NaN or infinity", "finite actions", "train the weights again")
        actions = self.transform.inverse(chunk, state)
        if ahead is not None:
            actions = ahead.complete(actions)
        return PolicyOutput(actions, progress=0.0, success_estimate=0.0)

    def _fast(self, keys_values: Tensor) -> Velocity:
        """The velocity without gradients, compiled at the first chunk; eager torch takes several times as long."""
        if self._run is None:
            shape = 1, self.contract.horizon
            example = torch.zeros(*shape, self.transform.width), torch.zeros(shape), keys_values
            (self._run,) = compiled(_Velocity(self.model), example)
        run, seen = self._run, keys_values.numpy()
        return lambda actions, time: torch.from_numpy(run((actions.numpy(), time.numpy(), seen))[0])

    @torch.no_grad()
    def correct(self, actions: Float32, first: int, observation: Observation) -> Float32:
        """See Corrector."""
        check_observation(observation, self.contract)
        relative = torch.from_numpy(self.transform.forward(actions, observation.state))[None]
        corrected = self.model.correct(relative, first, self._situation(observation.state, 0.0))
        return self.transform.inverse(corrected[0].numpy(), observation.state)

    def _situation(self, state: Float32, age_s: float) -> Situation:
        return self._reader.read(state[None], np.array([age_s], np.float32))
