"""The KeypointFlow model as a policy: observation in, chunk out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_core.contract import Contract
from vla_core.errors import ConfigError, ObservationError, PolicyError
from vla_core.strategies import A2C2, BID, RTC_GUIDED, RTC_PREFIX, VLASH
from vla_core.types import Float32, Observation, Running
from vla_policy.core.backends import Backend, Decoding, Seen, make_backend
from vla_policy.core.blocks.language import Reading
from vla_policy.core.drawing.continuation import continuation
from vla_policy.core.drawing.draw import samples_needed
from vla_policy.core.drawing.future_state import FutureState, Gripper, features, roll_forward
from vla_policy.core.models.keypoint_flow import KeypointFlow, configure
from vla_policy.core.policy import GroundedRoles, PolicyOutput
from vla_policy.core.preset import Preset, parse
from vla_policy.core.processors import ToolPoseRelative, action_transform, state_features
from vla_policy.core.text import minilm
from vla_policy.core.vocabulary import Vocabulary
from vla_policy.core.weights import fill, load_weights


@dataclass(frozen=True, slots=True)
class ExpertTraining:
    """What a model was trained for.

    Attributes:
        prefix_steps: Most given steps that it continues.
        longest_offset_steps: Most steps ahead at which its chunk may begin.
        gripper: Of the robot, where chunks may begin at a future state; else None.
        strategies: Of those that need something of a policy.
    """

    prefix_steps: int
    longest_offset_steps: int
    gripper: Gripper | None
    strategies: frozenset[str]

    @classmethod
    def of(cls, preset: Preset) -> ExpertTraining:
        """From a preset.

        Raises:
            ConfigError: a key is missing or of a wrong type.
        """
        told = "future" in preset.model
        expert = preset.training.get("head", preset.training["expert"])  # whichever stage the head learns in last
        where = f"{preset.name}.yaml: training: gripper"
        gripper = parse(Gripper, preset.training.get("gripper"), where) if told else None
        steps = int(expert["prefix_steps"]), int(expert["longest_offset_steps"])
        draws = preset.decoding["head"] == "flow"  # a regression has nothing to choose
        needs = {RTC_GUIDED: draws, BID: draws, RTC_PREFIX: draws and steps[0] > 0, VLASH: told}
        needs[A2C2] = "corrector" in preset.model
        return cls(*steps, gripper, frozenset(name for name, holds in needs.items() if holds))


class KeypointPolicy:
    """See `core/models/keypoint_flow.py` for the model."""

    def __init__(
        self,
        name: str,
        contract: Contract,
        backend: Backend,
        vocabulary: Vocabulary,
        max_tokens: int,
        trained: ExpertTraining,
    ) -> None:
        self.name, self.contract_hash = name, contract.hash
        self.contract, self.backend, self.vocabulary = contract, backend, vocabulary
        self.transform, self.features = action_transform(contract), state_features(contract)
        if trained.gripper is not None and not isinstance(self.transform, ToolPoseRelative):
            got = f"{name}: model: future with action space '{contract.action_space}'"
            raise ConfigError(got, "tool_pose actions", "leave model: future out")
        self._encoder, self._trained, self.strategies = minilm(max_tokens), trained, trained.strategies
        self._read_last: tuple[str, Reading] | None = None

    @classmethod
    def load(cls, preset: Preset, contract: Contract, backend: str, weights: Path | None) -> KeypointPolicy:
        """Load a preset's weights and prepare the backend.

        Raises:
            WeightsError: the weight file is missing, corrupt, of another contract or of another size.
            ConfigError: the preset is broken.
        """
        path = preset.weights_path() if weights is None else weights
        tensors, metadata = load_weights(path, contract.hash)
        model = KeypointFlow(configure(preset.model, contract))
        fill(model, tensors, path.name)
        decoding = parse(Decoding, preset.decoding, f"{preset.name}.yaml: decoding").check()
        vocabulary = Vocabulary.from_metadata(metadata.vocabulary)
        made = make_backend(backend, model, decoding)
        max_tokens, trained = model.config.language.max_tokens, ExpertTraining.of(preset)
        return cls(preset.name, contract, made, vocabulary, max_tokens, trained)

    def predict(self, observation: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        """See Policy."""
        check_observation(observation, self.contract)
        contract, trained = self.contract, self._trained
        future = None
        if trained.gripper is not None:
            future = roll_forward(running, observation, contract, trained.longest_offset_steps, trained.gripper)
        followed = continuation(running, observation, contract, self.transform, trained.prefix_steps)
        shape = (samples_needed(followed), contract.horizon, self.transform.width)
        noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
        out = self.backend.infer(self._seen(observation, future), noise, followed)
        if not np.isfinite(out.chunk).all():
            raise PolicyError("a chunk with NaN or infinity", "finite actions", "train the weights again")
        actions = self.transform.inverse(out.chunk, observation.state if future is None else future.state)
        return PolicyOutput(
            actions=actions if future is None else future.complete(actions),
            progress=float(out.progress),
            success_estimate=float(out.success),
            roles=GroundedRoles(out.uv, out.presence, out.role_xyz),
        )

    def correct(self, actions: Float32, first: int, observation: Observation) -> Float32:
        """See Corrector."""
        check_observation(observation, self.contract)
        relative = self.transform.forward(actions, observation.state)
        corrected = self.backend.correct(self._seen(observation, None), relative, first)
        return self.transform.inverse(corrected, observation.state)

    def _seen(self, observation: Observation, future: FutureState | None) -> Seen:
        ahead = None
        if self._trained.gripper is not None:
            assert isinstance(self.transform, ToolPoseRelative), "checked at the start"
            ahead = features(future, observation, self.contract, self.transform)
        reading, state = self._read(observation.instruction), self.features.forward(observation.state)
        return Seen(observation.rgb, reading, state, ahead)

    def _read(self, instruction: str) -> Reading:
        last = self._read_last
        if last is None or instruction != last[0]:
            self.vocabulary.check(instruction)
            last = self._read_last = (instruction, self.backend.read(self._encoder.encode([instruction])))
        return last[1]


def check_observation(observation: Observation, contract: Contract) -> None:
    """Accept an observation that a policy of this contract can answer.

    Raises:
        ObservationError: says what is wrong.
    """
    shape = contract.rgb_shape
    fix = "check observation_node and the cameras"
    if observation.contract_hash != contract.hash:
        got = f"an observation of contract {observation.contract_hash}"
        raise ObservationError(got, f"contract {contract.hash} ({contract.name})", "start all nodes with one contract")
    if (
        observation.view_names != contract.view_names
        or observation.rgb.shape != shape
        or observation.rgb.dtype != np.uint8
    ):
        got = f"views {observation.view_names}, {observation.rgb.dtype}{observation.rgb.shape}"
        raise ObservationError(got, f"views {contract.view_names}, uint8{shape}", fix)
    if not observation.view_valid.all():
        missing = [n for n, ok in zip(observation.view_names, observation.view_valid, strict=True) if not ok]
        raise ObservationError(f"no fresh image of {', '.join(missing)}", "all views valid", fix)
    if observation.state_names != contract.state_names or observation.state.shape != (len(contract.state_names),):
        got = f"state {observation.state_names} of shape {observation.state.shape}"
        raise ObservationError(got, f"{contract.state_names}", fix)
    if not np.isfinite(observation.state).all():
        raise ObservationError("a state with NaN or infinity", "finite numbers", "check the robot driver")
    if not observation.instruction.strip():
        raise ObservationError("no instruction", "a sentence that says what to do", "publish one on `instruction`")
