"""pi0 (Black et al. 2024): a vision-language backbone and an action expert that draws chunks by flow matching.

The expert attends to the backbone's keys and values, which are computed once per observation and kept while the chunk
is integrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vla_policy.core import flow, objectives
from vla_policy.core.blocks.action_expert import ActionExpert, ActionExpertConfig
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.drawing.field import Field
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System


@dataclass(frozen=True, slots=True)
class Pi0Config:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        backbone: See blocks/backbones.py. expert: See ActionExpertConfig.
        samples: Noise samples per row and training step.
        prefix_steps: Most given steps that training continues.
        steps: Euler steps per chunk.
    """

    backbone: dict[str, Any]
    expert: dict[str, Any]
    samples: int
    prefix_steps: int
    steps: int


class Pi0(System):
    """See the module."""

    static = True

    def __init__(self, config: Pi0Config, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config, self.prefix_steps, self.field_steps = config, config.prefix_steps, config.steps
        self.backbone = make_backbone(config.backbone, sizes)
        expert = parse(ActionExpertConfig, config.expert, "model: expert")
        self.expert = ActionExpert(expert, self.backbone.decoder_config, sizes)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Flow matching; several noise samples share one prefix."""
        read, times = self.backbone.read(sight), self.config.samples
        chunk, known = labels.chunk.repeat(times, 1, 1), labels.known.repeat(times, 1)

        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            return self.expert.velocity(actions, time, sight.state, read)

        return {"flow": objectives.flow_matching(velocity, chunk, known, self.config.prefix_steps)}

    def field(self, sight: Sight) -> Field:
        """Of one read prefix."""
        read: Read = self.backbone.read(sight)

        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            return self.expert.velocity(actions, time, sight.state, read)

        return Field(velocity, velocity)

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """Euler steps from noise."""
        return Drawn(flow.integrate(self.field(sight).fast, noise, self.config.steps), self.config.steps)


@SYSTEMS.register("pi0")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> Pi0:
    return Pi0(parse(Pi0Config, {**model, **decoding}, "preset"), sizes)
