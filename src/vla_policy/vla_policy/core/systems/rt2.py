"""RT-2 (Brohan et al. 2023): actions are words, and the vision-language model that answers questions also says them.

Every value of the action is one of 256 bins, every bin a token of the vocabulary that is used least (section 3.2). The
model learns from demonstrations and from questions about images in the same batches (co-fine-tuning), so that one set
of weights acts and answers. Asked to act, it may only say action tokens; asked a question, anything.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vla_policy.core.blocks.code_writer import prompt, teach
from vla_policy.core.blocks.knot_words import KnotWords, KnotWordsConfig
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Labels
from vla_policy.core.systems.writing import BinWritingSystem, WritingConfig


class Rt2(BinWritingSystem):
    """See the module."""

    questions_per_row = 0.5  # two thirds of the data are the robot's, as in RT-2-PaLM-E

    def __init__(self, config: WritingConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        actions = parse(KnotWordsConfig, config.actions, "model: actions")
        self.actions = KnotWords(actions, "uniform", sizes, self.backbone.embedding.num_embeddings)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Next tokens of actions and of answers."""
        assert labels.questions is not None, "the stage asks, see questions_per_row"
        backbone = self.backbone
        codes = self.actions.encode(self.physical(labels.chunk), labels.known)
        answers = backbone.texts(labels.questions.answers)
        return {
            "action": teach(backbone, self.actions.slots, backbone.read(sight), prompt(backbone, len(codes)), codes),
            "answer": backbone.word_loss(backbone.read(labels.questions.sight), answers),
        }


@SYSTEMS.register("rt2")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> Rt2:
    return Rt2(parse(WritingConfig, {**model, **decoding}, "preset"), sizes)
