"""pi0.5 (Physical Intelligence 2025, "pi0.5: a Vision-Language-Action Model with Open-World Generalization"): it first
says what it does next, then acts on what it said.

    p(chunk, subtask | observation, instruction) = p(chunk | observation, subtask) p(subtask | observation, instruction)

One backbone does both: the sub-task is decoded as text and stays behind the prefix, and the action expert draws the
chunk from all of it. The first stage trains the backbone alone, with FAST action tokens (pre-training); the second adds
the expert by flow matching (post-training), here with its gradient stopped as in knowledge insulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import ConfigError
from vla_policy.core import flow
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.knowledge_insulation import KnowledgeInsulation, KnowledgeInsulationConfig
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, Prelude
from vla_policy.core.words import BEGIN, PAD

PRETRAIN = "pretrain"


@dataclass(frozen=True, slots=True)
class Pi05Config(KnowledgeInsulationConfig):
    """As KnowledgeInsulationConfig.

    Attributes:
        words: Places that a sub-task takes behind the prefix, begin and end among them.
    """

    words: int


class Pi05(KnowledgeInsulation):
    """See the module. Static behind the words that it says."""

    static = True

    def __init__(self, config: Pi05Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self._words, self._acting = config.words, True

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Pre-training of the backbone, then everything."""
        return {PRETRAIN: list(self.backbone.parameters()), "system": list(self.parameters())}

    def enter(self, stage: str) -> None:
        """Pre-training knows no flow."""
        self._acting = stage != PRETRAIN

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Words as they follow each other: sub-task, then action tokens; the expert's flow behind the true sub-task.

        Raises:
            ConfigError: a sub-task longer than its places.
        """
        backbone, read = self.backbone, self.backbone.read(sight)
        said = self._padded(backbone.texts(labels.subtask))
        behind = backbone.appended(read, said)
        losses = {
            "subtask": backbone.word_loss(read, said),
            "action_tokens": self.action_loss(behind, labels),
            "answer": self.answer_loss(labels),
        }
        return losses | ({"flow": self.flow_loss(behind, sight.state, labels)} if self._acting else {})

    def conditioned(self, sight: Sight) -> tuple[Read, tuple[str, ...], int]:
        """The prefix with the sub-task that the backbone says behind it; action tokens can't be said."""
        backbone, read = self.backbone, self.backbone.read(sight)
        begin = torch.full((len(sight.state), 1), BEGIN, device=sight.state.device)
        said, passes = backbone.say(read, begin, self._words - 1, ~self.actions.slots.mask().to(begin.device))
        text = tuple(backbone.words.decode(row) for row in said.tolist())
        return backbone.appended(read, self._padded(torch.cat([begin, said], 1))), text, passes + 1

    def prelude(self, sight: Sight, noise: Tensor) -> Prelude:
        """The prefix with the sub-task behind it."""
        read, text, passes = self.conditioned(sight)
        kept = (part for keys_values in read.cache for part in keys_values)
        return Prelude((read.hidden, read.valid, *kept), passes, text)

    def draw_behind(self, sight: Sight, noise: Tensor, made: Sequence[Tensor]) -> Drawn:
        """Euler steps from noise."""
        hidden, valid, *kept = made
        read = Read(hidden, valid, list(zip(kept[::2], kept[1::2], strict=True)))
        steps = self.config.steps
        return Drawn(flow.integrate(self._field(read, (), sight.state).fast, noise, steps), steps)

    def _padded(self, tokens: Tensor) -> Tensor:
        """(B,L) to (B,words): the expert stands at the same place whatever is said."""
        missing = self._words - tokens.shape[1]
        if missing < 0:
            got = f"a sub-task of {tokens.shape[1]} tokens"
            raise ConfigError(got, f"at most {self._words}", "enlarge model: words")
        return F.pad(tokens, (0, missing), value=PAD)


@SYSTEMS.register("pi05")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> Pi05:
    return Pi05(parse(Pi05Config, {**model, **decoding}, "preset"), sizes)
