"""TinyVLA (Wen et al. 2024): a small pre-trained backbone, frozen but for LoRA, conditions a diffusion head.

Section III: what the backbone makes of images and words is pooled over its tokens, normalised, joined with the robot's
state and projected; a Diffusion Policy head draws the chunk under that condition, trained with 100 steps, drawn by DDIM
in 10. About 5 % of the weights learn, the low-rank ones beside queries, keys and values; the others keep what they know
of images and language from before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla_policy.core import objectives
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.decoder import mean_of
from vla_policy.core.blocks.lora import Lora, LoraConfig
from vla_policy.core.blocks.unet1d import Unet1d, Unet1dConfig
from vla_policy.core.diffusion import Diffusion, DiffusionConfig, Predict
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System


@dataclass(frozen=True, slots=True)
class TinyVlaConfig:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        backbone: See blocks/backbones.py. lora: See LoraConfig; of the backbone's decoder.
        unet: See Unet1dConfig. diffusion: See DiffusionConfig.
        samples: Noise samples per row and training step.
        steps: DDIM steps per chunk.
    """

    backbone: dict[str, Any]
    lora: dict[str, Any]
    unet: dict[str, Any]
    diffusion: dict[str, Any]
    samples: int
    steps: int


class TinyVla(System):
    """See the module."""

    static = True

    def __init__(self, config: TinyVlaConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config = config
        self.backbone = make_backbone(config.backbone, sizes)
        self.backbone.requires_grad_(False)
        self.lora = Lora(parse(LoraConfig, config.lora, "model: lora"), self.backbone.decoder)
        width = self.backbone.decoder_config.width
        self.norm = nn.LayerNorm(width)
        self.combine = nn.Linear(width + sizes.state, width)
        self.unet = Unet1d(parse(Unet1dConfig, config.unet, "model: unet"), sizes, width)
        self.diffusion = Diffusion(parse(DiffusionConfig, config.diffusion, "model: diffusion"))

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """One, in which the frozen weights don't learn."""
        return {"system": [p for p in self.parameters() if p.requires_grad]}

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Denoising; several noise samples share one reading."""
        times = self.config.samples
        chunk, known = labels.chunk.repeat(times, 1, 1), labels.known.repeat(times, 1)
        return {"denoising": objectives.denoising(self.diffusion, self._predict(sight, times), chunk, known)}

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """DDIM from noise."""
        steps = self.config.steps
        return Drawn(self.diffusion.sample(self._predict(sight), noise, steps), steps)

    def _predict(self, sight: Sight, times: int = 1) -> Predict:
        """What the head says of this sight, the batch repeated so many times."""
        read = self.backbone.read(sight)
        pooled = self.norm(mean_of(read.hidden, read.valid))
        condition = self.combine(torch.cat([pooled, sight.state], -1)).repeat(times, 1)

        def predict(actions: Tensor, time: Tensor) -> Tensor:
            out: Tensor = self.unet(actions, time, condition)
            return out

        return predict


@SYSTEMS.register("tinyvla")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> TinyVla:
    return TinyVla(parse(TinyVlaConfig, {**model, **decoding}, "preset"), sizes)
