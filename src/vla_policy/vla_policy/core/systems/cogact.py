"""CogACT (Li et al. 2024): what the vision-language model understood, one token, conditions a diffusion transformer.

A learned cognition token stands behind what is seen and read; its state after the backbone is the cognition feature
(section 3.1). A diffusion transformer denoises the chunk under that feature (section 3.2), guided without a classifier
(Ho & Salimans 2022): while training, the feature is sometimes replaced by a learned one that says nothing, u, and a
chunk is drawn by

    prediction = eps(u) + guidance * (eps(feature) - eps(u)).

The adaptive action ensemble over successive chunks (section 3.3) is the executor's strategy `adaptive_ensemble`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError, UnknownNameError
from vla_policy.core import objectives
from vla_policy.core.blocks.attention import learned
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.dit import Dit, DitConfig
from vla_policy.core.blocks.in_context_dit import InContextDit, InContextDitConfig
from vla_policy.core.diffusion import Diffusion, DiffusionConfig, Predict
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System

CONDITIONINGS = ("in_context", "adaln_zero")


@dataclass(frozen=True, slots=True)
class CogActConfig:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        backbone: See blocks/backbones.py. dit: See InContextDitConfig. diffusion: See DiffusionConfig.
        conditioning: How the feature comes into the transformer: 'in_context', as a token (the paper), or 'adaln_zero'.
        dropped: Share of rows that are trained without the cognition feature: 0.1 in the paper's code.
        samples: Noise samples per row and training step: 8 there.
        guidance: 1 draws under the feature alone, more exaggerates it: 1.5 in the paper.
        steps: DDIM steps per chunk: 10 in the paper.
    """

    backbone: dict[str, Any]
    dit: dict[str, Any]
    conditioning: str
    diffusion: dict[str, Any]
    dropped: float
    samples: int
    guidance: float
    steps: int

    def check(self) -> CogActConfig:
        """Return self.

        Raises:
            ConfigError: guidance by a prediction that was never trained, or a share that is none.
            UnknownNameError: another conditioning.
        """
        if self.conditioning not in CONDITIONINGS:
            raise UnknownNameError("conditioning", self.conditioning, CONDITIONINGS)
        if not 0.0 <= self.dropped <= 1.0 or (self.guidance != 1.0 and self.dropped == 0.0):
            got = f"dropped {self.dropped} with guidance {self.guidance}"
            raise ConfigError(got, "a share 0..1, above 0 unless guidance is 1", "mend the preset")
        return self


class CogAct(System):
    """See the module."""

    static = True

    def __init__(self, config: CogActConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config = config.check()
        self.backbone = make_backbone(config.backbone, sizes)
        width = self.backbone.decoder_config.width
        self.cognition, self.unconditioned = learned(1, 1, width), nn.Parameter(0.02 * torch.randn(width))
        dit = parse(InContextDitConfig, config.dit, "model: dit")
        self.dit: InContextDit | Dit
        if config.conditioning == "in_context":
            self.dit = InContextDit(dit, sizes, width)
        else:
            self.dit = Dit(DitConfig(dit.width, dit.layers, dit.heads, 4 * dit.width), sizes, width)
        self.diffusion = Diffusion(parse(DiffusionConfig, config.diffusion, "model: diffusion"))

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Denoising; several noise samples share one feature, and each drops it or not."""
        times = self.config.samples
        feature = self.feature(sight).repeat(times, 1)
        dropped = torch.rand(len(feature), 1, device=feature.device) < self.config.dropped
        feature = torch.where(dropped, self.unconditioned, feature)

        def predict(actions: Tensor, time: Tensor) -> Tensor:
            return self._denoise(actions, time, feature)

        chunk, known = labels.chunk.repeat(times, 1, 1), labels.known.repeat(times, 1)
        return {"denoising": objectives.denoising(self.diffusion, predict, chunk, known)}

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """DDIM from noise, guided."""
        steps = self.config.steps
        return Drawn(self.diffusion.sample(self.guided(sight), noise, steps), steps)

    def feature(self, sight: Sight) -> Tensor:
        """The cognition feature (B,C)."""
        read = self.backbone.read(sight)
        hidden, _ = self.backbone.extend(read, self.cognition.expand(len(read.valid), -1, -1))
        return hidden[:, 0]

    def guided(self, sight: Sight) -> Predict:
        """Both predictions in one pass, put together."""
        feature, guidance = self.feature(sight), self.config.guidance
        both = torch.cat([feature, self.unconditioned.expand_as(feature)])

        def predict(actions: Tensor, time: Tensor) -> Tensor:
            given, blind = self._denoise(actions.repeat(2, 1, 1), time.repeat(2), both).chunk(2)
            out: Tensor = blind + guidance * (given - blind)
            return out

        return predict

    def _denoise(self, actions: Tensor, time: Tensor, feature: Tensor) -> Tensor:
        """What the transformer says; adaLN's is told times 0..1."""
        if isinstance(self.dit, Dit):
            time = time / self.diffusion.config.steps
        out: Tensor = self.dit(actions, time, feature)
        return out


@SYSTEMS.register("cogact")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> CogAct:
    return CogAct(parse(CogActConfig, {**model, **decoding}, "preset"), sizes)
