"""Diffusion Policy (Chi et al. 2023): a chunk is drawn by denoising, and so keeps to one of several ways to do a task.

The CNN variant: a one-dimensional U-Net over the chunk's steps says which noise is in it; the last observations and the
diffusion step modulate every one of its blocks by FiLM (section III-A). Trained with DDPM's 100 steps, equation 5,

    loss = || epsilon - epsilon_theta(O_t, A_t^0 + epsilon^k, k) ||^2,

drawn by DDIM in a few (section IV-D). Observations are encoded once per chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vla_policy.core import objectives
from vla_policy.core.blocks.observation_encoder import ObservationEncoder, ObservationEncoderConfig
from vla_policy.core.blocks.unet1d import Unet1d, Unet1dConfig
from vla_policy.core.diffusion import Diffusion, DiffusionConfig, Predict
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System


@dataclass(frozen=True, slots=True)
class DiffusionPolicyConfig:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        observation: See ObservationEncoderConfig. unet: See Unet1dConfig. diffusion: See DiffusionConfig.
        history: Observations that condition a chunk, the paper's T_o.
        samples: Noise samples per row and training step.
        steps: DDIM steps per chunk.
    """

    observation: dict[str, Any]
    unet: dict[str, Any]
    diffusion: dict[str, Any]
    history: int
    samples: int
    steps: int


class DiffusionPolicy(System):
    """See the module."""

    static = True

    def __init__(self, config: DiffusionPolicyConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config, self.history = config, config.history
        observation = parse(ObservationEncoderConfig, config.observation, "model: observation")
        self.observation = ObservationEncoder(observation, sizes)
        self.unet = Unet1d(
            parse(Unet1dConfig, config.unet, "model: unet"), sizes, config.history * observation.features
        )
        self.diffusion = Diffusion(parse(DiffusionConfig, config.diffusion, "model: diffusion"))

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Denoising of the chunk that follows the newest observation; several noise samples share one encoding."""
        times, newest = self.config.samples, slice(self.history - 1, None, self.history)
        chunk, known = labels.chunk[newest].repeat(times, 1, 1), labels.known[newest].repeat(times, 1)
        return {"denoising": objectives.denoising(self.diffusion, self._predict(sight, times), chunk, known)}

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """DDIM from noise."""
        steps = self.config.steps
        return Drawn(self.diffusion.sample(self._predict(sight), noise, steps), steps)

    def _predict(self, sight: Sight, times: int = 1) -> Predict:
        """What the U-Net says under these observations, the batch repeated so many times."""
        seen = self.observation(sight).view(-1, self.history * self.observation.features).repeat(times, 1)

        def predict(actions: Tensor, time: Tensor) -> Tensor:
            out: Tensor = self.unet(actions, time, seen)
            return out

        return predict


@SYSTEMS.register("diffusion_policy")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> DiffusionPolicy:
    return DiffusionPolicy(parse(DiffusionPolicyConfig, {**model, **decoding}, "preset"), sizes)
