"""The small backbone on its own: learns to answer questions about the scene and to say what comes next.

Stands in for a VLM's pre-training on the web: systems that start from a VLM start from this one's weights. It speaks,
and never acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vla_core.errors import PolicyError
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System


@dataclass(frozen=True, slots=True)
class SmallVlmSystemConfig:
    """A preset's `model: backbone`."""

    backbone: dict[str, Any]


class SmallVlmSystem(System):
    """See the module."""

    speaks, questions_per_row, acts = True, 1.0, False

    def __init__(self, config: SmallVlmSystemConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.backbone = make_backbone(config.backbone, sizes)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Words of sub-tasks and of answers."""
        assert labels.questions is not None, "the stage asks, see questions_per_row"
        backbone = self.backbone
        return {
            "subtask": backbone.word_loss(backbone.read(sight), backbone.texts(labels.subtask)),
            "answer": backbone.word_loss(
                backbone.read(labels.questions.sight), backbone.texts(labels.questions.answers)
            ),
        }

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """Not possible.

        Raises:
            PolicyError: always.
        """
        raise PolicyError("the small VLM as a policy", "a system that acts", "choose another policy")


@SYSTEMS.register("small_vlm")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> SmallVlmSystem:
    return SmallVlmSystem(parse(SmallVlmSystemConfig, {**model, **decoding}, "preset"), sizes)
