"""Knowledge insulation (Driess et al. 2025, "Knowledge Insulating Vision-Language-Action Models: Train Fast, Run Fast,
Generalize Better"): one training stage, and what the action expert learns can't spoil the backbone.

The backbone learns by next words alone: chunks as FAST tokens, sub-tasks, and answers to questions about the scene
(co-training). The expert learns by flow matching on the backbone's keys K and values V, through which no gradient goes
back (sg); it never sees the action tokens, and the backbone never sees the expert:

    L = - sum_j log p(word_j+1 | words_1..j) + alpha |velocity(a_t, t; sg(K), sg(V)) - (a - noise)|^2

Chunks are drawn by the expert; the action tokens are never decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vla_policy.core import flow, objectives
from vla_policy.core.blocks.action_expert import ActionExpert, ActionExpertConfig
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.code_writer import check_room
from vla_policy.core.blocks.decoder import detached
from vla_policy.core.blocks.fast_words import FastWords, FastWordsConfig
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.drawing.field import Field
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System
from vla_policy.core.words import PAD


@dataclass(frozen=True, slots=True)
class KnowledgeInsulationConfig:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        backbone: See blocks/backbones.py. expert: See ActionExpertConfig. actions: See FastWordsConfig.
        samples: Noise samples per row and training step.
        prefix_steps: Most given steps that training continues.
        steps: Euler steps per chunk.
    """

    backbone: dict[str, Any]
    expert: dict[str, Any]
    actions: dict[str, Any]
    samples: int
    prefix_steps: int
    steps: int


class KnowledgeInsulation(System):
    """See the module."""

    static = True
    speaks, questions_per_row = True, 0.25

    def __init__(self, config: KnowledgeInsulationConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config, self.prefix_steps, self.field_steps = config, config.prefix_steps, config.steps
        self.backbone = make_backbone(config.backbone, sizes)
        actions = parse(FastWordsConfig, config.actions, "model: actions")
        self.actions = FastWords(actions, self.backbone.embedding.num_embeddings)
        expert = parse(ActionExpertConfig, config.expert, "model: expert")
        self.expert = ActionExpert(expert, self.backbone.decoder_config, sizes)

    def fit(self, data: Fitting) -> None:
        """See System.

        Raises:
            ConfigError: words would stand where actions stand.
        """
        super().fit(data)
        check_room(self.backbone, self.actions.slots)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Action tokens, sub-tasks, answers; and flow matching, whose gradient ends at the expert."""
        backbone, read = self.backbone, self.backbone.read(sight)
        return {
            "action_tokens": self.action_loss(read, labels),
            "subtask": backbone.word_loss(read, backbone.texts(labels.subtask)),
            "answer": self.answer_loss(labels),
            "flow": self.flow_loss(read, sight.state, labels),
        }

    def action_loss(self, read: Read, labels: Labels) -> Tensor:
        """Cross-entropy of chunks as action tokens; rows that aren't labelled to the end bear none."""
        whole = labels.known.all(1)
        if not bool(whole.any()):
            return labels.chunk.new_zeros(())
        words = self.actions.encode(self.physical(labels.chunk))
        words[~whole, 1:] = PAD
        return self.backbone.word_loss(read, words)

    def answer_loss(self, labels: Labels) -> Tensor:
        """Cross-entropy of answers to questions about other observations."""
        assert labels.questions is not None, "the stage asks, see questions_per_row"
        backbone = self.backbone
        return backbone.word_loss(backbone.read(labels.questions.sight), backbone.texts(labels.questions.answers))

    def flow_loss(self, read: Read, state: Tensor, labels: Labels) -> Tensor:
        """Flow matching of the expert; several noise samples share one prefix."""
        read, times = read._replace(cache=detached(read.cache)), self.config.samples
        chunk, known = labels.chunk.repeat(times, 1, 1), labels.known.repeat(times, 1)

        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            return self.expert.velocity(actions, time, state, read)

        return objectives.flow_matching(velocity, chunk, known, self.config.prefix_steps)

    def conditioned(self, sight: Sight) -> tuple[Read, tuple[str, ...], int]:
        """What the expert draws from, what was said on the way, and the passes that this took."""
        return self.backbone.read(sight), (), 0

    def field(self, sight: Sight) -> Field:
        """Of one prefix."""
        return self._field(*self.conditioned(sight)[:2], sight.state)

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """Euler steps from noise."""
        read, text, said = self.conditioned(sight)
        chunk = flow.integrate(self._field(read, text, sight.state).fast, noise, self.config.steps)
        return Drawn(chunk, said + self.config.steps, text)

    def _field(self, read: Read, text: tuple[str, ...], state: Tensor) -> Field:
        def velocity(actions: Tensor, time: Tensor) -> Tensor:
            return self.expert.velocity(actions, time, state, read)

        return Field(velocity, velocity, text)


@SYSTEMS.register("knowledge_insulation")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> KnowledgeInsulation:
    return KnowledgeInsulation(parse(KnowledgeInsulationConfig, {**model, **decoding}, "preset"), sizes)
