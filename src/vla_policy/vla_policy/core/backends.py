"""Where KeypointFlow runs: OpenVINO on a CPU, torch on a GPU. Same inputs, same outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError, UnknownNameError
from vla_core.types import Float32, UInt8
from vla_policy.core.blocks.language import Reading
from vla_policy.core.drawing.continuation import Continuation
from vla_policy.core.drawing.draw import draw
from vla_policy.core.drawing.field import Field
from vla_policy.core.drawing.future_state import AHEAD
from vla_policy.core.models.keypoint_flow import KeypointFlow
from vla_policy.core.openvino_graph import Run, compiled
from vla_policy.core.text import Text

HEADS = ("flow", "l1")


@dataclass(frozen=True, slots=True)
class Decoding:
    """How actions are drawn: head 'flow' with this many Euler steps, or 'l1' in one pass."""

    head: str
    steps: int

    def check(self) -> Decoding:
        """Return self.

        Raises:
            ConfigError: unknown head, or steps < 1.
        """
        if self.head not in HEADS or self.steps < 1:
            got = f"decoding head '{self.head}' with {self.steps} steps"
            raise ConfigError(got, f"a head of {', '.join(HEADS)} and at least 1 step", "mend the preset")
        return self


class Inference(NamedTuple):
    """What one forward pass gives, float32.

    Attributes:
        chunk: (T,D) relative actions in physical units.
        uv: (V,R,2); presence: (V,R) probability; role_xyz: (R,3) [m]; progress: (); success: () probability.
    """

    chunk: Float32
    uv: Float32
    presence: Float32
    role_xyz: Float32
    progress: Float32
    success: Float32


class Seen(NamedTuple):
    """What a chunk depends on.

    Attributes:
        rgb: (V,H,W,3). reading: The instruction. state: (S,) state features.
        ahead: (AHEAD,) where the chunk is to begin, for models that can be told.
    """

    rgb: UInt8
    reading: Reading
    state: Float32
    ahead: Float32 | None = None


class Backend(Protocol):
    """Runs the model."""

    def read(self, text: Text) -> Reading:
        """Read one instruction; done once per instruction."""

    def infer(self, seen: Seen, noise: Float32, continuation: Continuation | None = None) -> Inference:
        """What is seen and noise (N,T,D) to a chunk that agrees with `continuation`."""

    def correct(self, seen: Seen, actions: Float32, first: int) -> Float32:
        """Relative actions (N,D), steps first.. of their chunk, corrected; only for models with a corrector.

        May run beside `infer`, in another thread.
        """


class Encode(nn.Module):
    """First graph: everything that depends on the observation."""

    def __init__(self, model: KeypointFlow) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, rgb: Tensor, roles: Tensor, queries: Tensor, sentence: Tensor, state: Tensor, ahead: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Keys and values, condition tokens, then uv, presence, role_xyz, progress, success."""
        condition, percept, keys_values = self.model.encode(rgb, Reading(roles, queries, sentence), state, ahead)
        fusion = self.model.fusion
        role_xyz = condition.role_xyz * fusion.xyz_std + fusion.xyz_mean
        readouts = (torch.sigmoid(percept.presence), role_xyz, condition.progress, torch.sigmoid(condition.success))
        return keys_values, condition.tokens, percept.uv, *readouts


class Decode(nn.Module):
    """Second graph, run once per Euler step: the velocity of noisy actions; or the one pass of the regression head."""

    def __init__(self, model: KeypointFlow, head: str) -> None:
        super().__init__()
        self.model, self.head = model, head

    def forward(self, actions: Tensor, time: Tensor, keys_values: Tensor) -> Tensor:
        """Velocity (B,T,D) in normalised units at times (B,T); for head 'l1' the chunk (B,T,D) in physical units."""
        if self.head == "l1":
            return self.model.regress(keys_values) + 0.0 * actions * time[..., None]
        return self.model.head.velocity(actions, time, keys_values)


def _reading(model: KeypointFlow, text: Text) -> Reading:
    device = model.action_mean.device
    with torch.no_grad():
        reading: Reading = model.language(*(torch.from_numpy(part).to(device) for part in text))
    return reading


def _torch_field(model: KeypointFlow, keys_values: Tensor) -> Field:
    def velocity(actions: Tensor, time: Tensor) -> Tensor:
        return model.head.velocity(actions, time, keys_values)

    return Field(velocity, velocity)


class TorchBackend:
    """Eager torch, on a GPU where there is one."""

    def __init__(self, model: KeypointFlow, decoding: Decoding) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model.to(device).eval().requires_grad_(False)
        self._encode, self._decoding, self._device = Encode(self.model), decoding, device

    def read(self, text: Text) -> Reading:
        """See Backend."""
        return _reading(self.model, text)

    @torch.no_grad()
    def infer(self, seen: Seen, noise: Float32, continuation: Continuation | None = None) -> Inference:
        """See Backend; waits for the GPU, so that a measured time means something."""
        keys_values, _, *rest = self._look(seen)
        noise_ = torch.tensor(noise, device=self._device)
        if self._decoding.head == "l1":
            chunk = self.model.regress(keys_values)
        else:
            field = _torch_field(self.model, keys_values)
            scale = self.model.action_mean, self.model.action_std
            chunk = draw(field, noise_, self._decoding.steps, continuation, *scale)
        return Inference(*(part[0].float().cpu().numpy() for part in (chunk, *rest)))

    @torch.no_grad()
    def correct(self, seen: Seen, actions: Float32, first: int) -> Float32:
        """See Backend."""
        tokens = self._look(seen)[1]
        out: Float32 = (
            self.model.correct(torch.tensor(actions[None], device=self._device), first, tokens)[0].cpu().numpy()
        )
        return out

    def _look(self, seen: Seen) -> tuple[Tensor, ...]:
        ahead = () if seen.ahead is None else (seen.ahead,)
        rgb, *rest = (torch.tensor(array, device=self._device)[None] for array in (seen.rgb, seen.state, *ahead))
        out: tuple[Tensor, ...] = self._encode(rgb, *seen.reading, *rest)
        return out


class OpenVinoBackend:
    """Both graphs compiled for the CPU."""

    def __init__(self, model: KeypointFlow, decoding: Decoding) -> None:
        self.model = model.cpu().eval().requires_grad_(False)
        sizes, language = model.config, model.config.language
        reading = (
            torch.zeros(1, language.roles, language.width),
            torch.zeros(1, language.roles, sizes.vision.features),
            torch.zeros(1, language.sentence_width),
        )
        image = torch.zeros(1, sizes.views, sizes.image, sizes.image, 3, dtype=torch.uint8)
        ahead = (torch.zeros(1, AHEAD),) if sizes.future is not None else ()
        inputs = (image, *reading, torch.zeros(1, sizes.state), *ahead)
        actions, time = torch.zeros(1, sizes.horizon, sizes.action_width), torch.zeros(1, sizes.horizon)
        encode, decode = Encode(self.model), Decode(self.model, decoding.head)
        with torch.no_grad():
            keys_values = encode(*inputs)[0]
        # the second one: a correction may come while a chunk is being drawn
        self._encode, self._encode_beside = compiled(encode, inputs, streams=2)
        (self._decode,) = compiled(decode, (actions, time, keys_values))
        self._decoding = decoding

    def read(self, text: Text) -> Reading:
        """See Backend."""
        return _reading(self.model, text)

    def infer(self, seen: Seen, noise: Float32, continuation: Continuation | None = None) -> Inference:
        """See Backend."""
        keys_values, _, *rest = self._look(seen, self._encode)
        chunk = self._draw(torch.from_numpy(noise), keys_values, continuation).numpy()
        return Inference(*(np.array(part[0], np.float32) for part in (chunk, *rest)))

    @torch.no_grad()
    def correct(self, seen: Seen, actions: Float32, first: int) -> Float32:
        """See Backend; the residual head is small, and runs in torch."""
        tokens = torch.from_numpy(self._look(seen, self._encode_beside)[1])
        out: Float32 = self.model.correct(torch.from_numpy(actions[None]), first, tokens)[0].numpy()
        return out

    def _look(self, seen: Seen, encode: Run) -> list[Float32]:
        words = [part.numpy() for part in seen.reading]
        ahead = [] if seen.ahead is None else [seen.ahead[None]]
        return encode([seen.rgb[None], *words, seen.state[None], *ahead])

    def _draw(self, noise: Tensor, keys_values: Float32, continuation: Continuation | None) -> Tensor:
        """From noise (N,T,D) to a chunk (1,T,D) in physical units."""

        def run(actions: Tensor, time: Tensor) -> Tensor:
            return torch.from_numpy(self._decode([actions.numpy(), time.numpy(), keys_values])[0])

        if self._decoding.head == "l1":
            return run(noise, torch.zeros(noise.shape[:2]))
        field = Field(run, _torch_field(self.model, torch.from_numpy(keys_values)).differentiable)
        scale = self.model.action_mean, self.model.action_std
        return draw(field, noise, self._decoding.steps, continuation, *scale)


BACKENDS: dict[str, Callable[[KeypointFlow, Decoding], Backend]] = {"openvino": OpenVinoBackend, "torch": TorchBackend}


def make_backend(name: str, model: KeypointFlow, decoding: Decoding) -> Backend:
    """Prepare a model to run; 'auto' is torch on a GPU, else OpenVINO.

    Raises:
        UnknownNameError: no such backend.
    """
    if name == "auto":
        name = "torch" if torch.cuda.is_available() else "openvino"
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, (*BACKENDS, "auto"))
    return BACKENDS[name](model, decoding)
