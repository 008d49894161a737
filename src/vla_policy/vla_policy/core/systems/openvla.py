"""OpenVLA (Kim et al. 2024): two encoders, one language model, one action as seven of its least used tokens.

A semantic and a spatial encoder look at the image; their features stand side by side, channel by channel, and an MLP
projects them to tokens of the language model (section 3.1). Every action value is one of 256 bins between the 1st and
99th percentile of the data, which outliers don't widen, and every bin takes the place of one of the tokens that the
tokenizer uses least: its last ones (section 3.2).
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


class OpenVla(BinWritingSystem):
    """See the module."""

    def __init__(self, config: WritingConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.needs = self.backbone.needs
        actions = parse(KnotWordsConfig, config.actions, "model: actions")
        self.actions = KnotWords(actions, "quantile", sizes, self.backbone.embedding.num_embeddings)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Next tokens of actions."""
        backbone, slots = self.backbone, self.actions.slots
        codes = self.actions.encode(self.physical(labels.chunk), labels.known)
        return {"action": teach(backbone, slots, backbone.read(sight), prompt(backbone, len(codes)), codes)}


@SYSTEMS.register("openvla")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> OpenVla:
    return OpenVla(parse(WritingConfig, {**model, **decoding}, "preset"), sizes)
