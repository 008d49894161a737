"""Any system as a policy: observation in, chunk out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_core.contract import Contract
from vla_core.errors import PolicyError, UnknownNameError, WeightsError
from vla_core.strategies import BID, RTC_GUIDED, RTC_PREFIX
from vla_core.types import NS, Observation, Running
from vla_policy.core.drawing.continuation import continuation
from vla_policy.core.drawing.draw import draw, samples_needed
from vla_policy.core.eyes import Eyes
from vla_policy.core.keypoint_policy import check_observation
from vla_policy.core.policy import PolicyOutput
from vla_policy.core.preset import Preset
from vla_policy.core.processors import action_transform
from vla_policy.core.recorded import Recorded
from vla_policy.core.sight import Sight
from vla_policy.core.systems.catalogue import make_system
from vla_policy.core.systems.system import System
from vla_policy.core.weights import fill, load_weights

AUTO, OPENVINO, TORCH = BACKENDS = ("auto", "openvino", "torch")


class SystemPolicy:
    """See `core/systems/`.

    Attributes:
        recorded: The system's graph, which is recorded at the first answer; None where it runs in torch.
    """

    def __init__(self, name: str, contract: Contract, eyes: Eyes, system: System, backend: str = AUTO) -> None:
        """Put them together.

        Args:
            name: Of the preset.
            contract: Of observations and chunks.
            eyes: What they see is what the system was trained on.
            system: With its weights.
            backend: 'auto' (OpenVINO for static systems, else torch), 'openvino' or 'torch'.

        Raises:
            UnknownNameError: another backend.
            PolicyError: 'openvino' for a system that can't be recorded.
        """
        if backend not in BACKENDS:
            raise UnknownNameError("backend", backend, BACKENDS)
        self.name, self.contract, self.contract_hash = name, contract, contract.hash
        self.eyes, self.system = eyes, system.eval().requires_grad_(False)
        self.transform = action_transform(contract)
        records = backend == OPENVINO or (backend == AUTO and system.recordable)
        self.recorded = Recorded(system, eyes.encoder.max_tokens) if records else None
        self._past: list[tuple[int, Sight]] = []
        self._instruction = ""
        self.strategies = frozenset({RTC_GUIDED, BID, RTC_PREFIX} if system.prefix_steps is not None else ())
        if not system.prefix_steps:
            self.strategies -= {RTC_PREFIX}

    @classmethod
    def load(cls, preset: Preset, contract: Contract, backend: str, weights: Path | None) -> SystemPolicy:
        """Load a preset's weights and the eyes that it was trained with.

        Raises:
            WeightsError: a weight file is missing, corrupt, of another contract, size or pair of eyes.
            ConfigError: the preset is broken.
            UnknownNameError, PolicyError: the backend, see __init__.
        """
        path = preset.weights_path() if weights is None else weights
        eyes = Eyes.load(preset.model["eyes"], contract)
        tensors, metadata = load_weights(path, contract.hash)
        system = make_system(preset, eyes.sizes)
        eyes.provide(system.wanted())
        notes: dict[str, Any] = metadata.notes
        if notes["eyes"] != eyes.mark:
            got = f"{path.name} trained with eyes {notes['eyes']}"
            raise WeightsError(
                got, f"{preset.model['eyes']} as it is ({eyes.mark})", f"./vla train --policy {preset.name}"
            )
        system.restore(notes["system"])
        fill(system, tensors, path.name)
        return cls(preset.name, contract, eyes, system, backend)

    @torch.no_grad()
    def predict(self, observation: Observation, seed: int, running: Running | None = None) -> PolicyOutput:
        """See Policy."""
        check_observation(observation, self.contract)
        sight, judgement = self.eyes.observe(observation)
        sight = self._with_past(sight, observation)
        system, transform = self.system, self.transform
        followed = continuation(running, observation, self.contract, transform, system.prefix_steps or 0)
        shape = (samples_needed(followed), self.contract.horizon, transform.width)
        noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))
        field = system.field(sight) if followed is not None else None
        if field is not None:
            steps = system.field_steps
            chunk, said = draw(field, noise, steps, followed, system.action_mean, system.action_std)[0], field.text
        else:
            drawn = (self.recorded or system).draw(sight, noise[:1])
            chunk, said = system.physical(drawn.chunk)[0], drawn.text
        if not bool(torch.isfinite(chunk).all()):
            raise PolicyError("a chunk with NaN or infinity", "finite actions", "train the weights again")
        return PolicyOutput(
            actions=transform.inverse(chunk.numpy(), observation.state),
            progress=judgement.progress,
            success_estimate=judgement.success,
            subtask=said[0] if said else "",
            roles=judgement.roles,
        )

    def _with_past(self, sight: Sight, observation: Observation) -> Sight:
        """With the sights nearest to whole multiples of `history_s` ago, oldest first.

        A new instruction, or a clock set back, begins a new past; before the first sight there was the first.
        """
        count, now_ns = self.system.history, observation.stamp_ns
        if count == 1:
            return sight
        if observation.instruction != self._instruction or (self._past and now_ns < self._past[-1][0]):
            self._past.clear()
            self._instruction = observation.instruction
        period_ns = round(self.system.history_s * NS)
        self._past = [kept for kept in self._past if now_ns - kept[0] <= (count + 1) * period_ns] + [(now_ns, sight)]
        wanted = [now_ns - back * period_ns for back in range(count - 1, 0, -1)]
        past = [min(self._past, key=lambda kept, at=at: abs(kept[0] - at))[1] for at in wanted]  # type: ignore[misc]
        return Sight.stacked([*past, sight])
