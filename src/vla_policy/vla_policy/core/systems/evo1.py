"""Evo-1 (Lin et al. 2025): a small backbone cut in the middle and a cross-modulated diffusion transformer beside it.

The backbone's middle layer holds images and words fused, and little yet of what it would say; what lies behind is left
out. The action expert attends to these states and to the robot's, in every block, and to nothing else. Two stages: the
expert alone with the backbone frozen, so that an untrained expert's gradients don't spoil what the backbone knows, then
both. Flow matching on chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vla_policy.core import flow, objectives
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.cross_modulated import CrossModulated, CrossModulatedConfig, Integrated
from vla_policy.core.drawing.field import Field
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System

EXPERT, ALL = "expert", "all"


@dataclass(frozen=True, slots=True)
class Evo1Config:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        backbone: See blocks/backbones.py; its `first_layers` end in the middle, 14 of 24 in the paper.
        expert: See CrossModulatedConfig.
        samples: Noise samples per row and training step.
        prefix_steps: Most given steps that training continues; 0 in the paper.
        steps: Euler steps per chunk; 32 in the published configuration.
    """

    backbone: dict[str, Any]
    expert: dict[str, Any]
    samples: int
    prefix_steps: int
    steps: int


class Evo1(System):
    """See the module."""

    static = True

    def __init__(self, config: Evo1Config, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config, self.prefix_steps, self.field_steps = config, config.prefix_steps, config.steps
        self.backbone = make_backbone(config.backbone, sizes)
        expert = parse(CrossModulatedConfig, config.expert, "model: expert")
        self.expert = CrossModulated(expert, sizes, self.backbone.decoder_config.width)

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """The expert, then everything."""
        return {EXPERT: list(self.expert.parameters()), ALL: list(self.parameters())}

    def enter(self, stage: str) -> None:
        """Freeze the backbone, or thaw it."""
        self.backbone.requires_grad_(stage != EXPERT)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Flow matching; several noise samples share one reading."""
        times = self.config.samples
        known = self._integrated(sight).repeated(times)

        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            out: Tensor = self.expert(actions, time, known)
            return out

        chunk, labelled = labels.chunk.repeat(times, 1, 1), labels.known.repeat(times, 1)
        sample = flow.sample_middle_time
        return {"flow": objectives.flow_matching(velocity, chunk, labelled, self.config.prefix_steps, sample)}

    def field(self, sight: Sight) -> Field:
        """Of one reading."""
        known = self._integrated(sight)

        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            out: Tensor = self.expert(actions, time, known.repeated(len(actions) // len(sight.state)))
            return out

        return Field(velocity, velocity)

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """Euler steps from noise."""
        return Drawn(flow.integrate(self.field(sight).fast, noise, self.config.steps), self.config.steps)

    def _integrated(self, sight: Sight) -> Integrated:
        read = self.backbone.read(sight)
        return self.expert.integrate(read.hidden, read.valid, sight.state)


@SYSTEMS.register("evo1")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> Evo1:
    return Evo1(parse(Evo1Config, {**model, **decoding}, "preset"), sizes)
