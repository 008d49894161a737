"""The KeypointFlow model as a policy: observation in, chunk out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_core.contract import Contract
from vla_core.errors import ObservationError, PolicyError
from vla_core.types import Observation, Running
from vla_policy.core.backends import Backend, Decoding, make_backend
from vla_policy.core.blocks.language import Reading
from vla_policy.core.drawing.continuation import continuation
from vla_policy.core.drawing.draw import samples_needed
from vla_policy.core.models.keypoint_flow import KeypointFlow, configure
from vla_policy.core.policy import GroundedRoles, PolicyOutput
from vla_policy.core.preset import Preset, parse
from vla_policy.core.processors import action_transform, state_features
from vla_policy.core.text import minilm
from vla_policy.core.vocabulary import Vocabulary
from vla_policy.core.weights import fill, load_weights


class KeypointPolicy:
    """See `core/models/keypoint_flow.py` for the model."""

    def __init__(
        self,
        name: str,
        contract: Contract,
        backend: Backend,
        vocabulary: Vocabulary,
        max_tokens: int,
        prefix_steps: int,
    ) -> None:
        self.name, self.contract_hash = name, contract.hash
        self.contract, self.backend, self.vocabulary = contract, backend, vocabulary
        self.transform, self.features = action_transform(contract), state_features(contract)
        self._encoder, self._prefix_steps = minilm(max_tokens), prefix_steps
        self._instruction = ""
        self._reading: Reading | None = None

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
        prefix_steps = int(preset.training["expert"]["prefix_steps"])
        return cls(preset.name, contract, made, vocabulary, model.config.language.max_tokens, prefix_steps)

    def predict(self, observation: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        """See Policy."""
        check_observation(observation, self.contract)
        reading = self._read(observation.instruction)
        state = self.features.forward(observation.state)
        followed = continuation(running, observation, self.contract, self.transform, self._prefix_steps)
        shape = (samples_needed(followed), self.contract.horizon, self.transform.width)
        noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
        out = self.backend.infer(observation.rgb, reading, state, noise, followed)
        if not np.isfinite(out.chunk).all():
            raise PolicyError("a chunk with NaN or infinity", "finite actions", "train the weights again")
        return PolicyOutput(
            actions=self.transform.inverse(out.chunk, observation.state),
            progress=float(out.progress),
            success_estimate=float(out.success),
            roles=GroundedRoles(out.uv, out.presence, out.role_xyz),
        )

    def _read(self, instruction: str) -> Reading:
        if self._reading is None or instruction != self._instruction:
            self.vocabulary.check(instruction)
            self._reading = self.backend.read(self._encoder.encode([instruction]))
            self._instruction = instruction
        return self._reading


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
