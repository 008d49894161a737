"""pi0-FAST (Pertsch et al. 2025): a vision-language model writes a whole chunk as FAST tokens, one after the other.

The chunk goes through a cosine transform over time and byte-pair encoding (tokenizers/fast.py), so that a smooth chunk
is a short sentence, where bins take a token for every value. The sentence is written with cached keys and values; only
tokens that still fit into the chunk may be written, so it ends with the chunk.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vla_core.errors import ConfigError
from vla_policy.core.blocks.code_writer import Written, write
from vla_policy.core.blocks.fast_words import FastWords, FastWordsConfig
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Labels
from vla_policy.core.systems.writing import WritingConfig, WritingSystem
from vla_policy.core.words import PAD


class Pi0Fast(WritingSystem):
    """See the module."""

    actions: FastWords

    def __init__(self, config: WritingConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        actions = parse(FastWordsConfig, config.actions, "model: actions")
        self.actions = FastWords(actions, self.backbone.embedding.num_embeddings)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Next tokens of the sentence; rows that aren't labelled to the end bear none."""
        whole = labels.known.all(1)
        if not bool(whole.any()):
            raise ConfigError("chunks that all end early", "whole chunks among them", "label chunks to their end")
        said = self.actions.encode(self.physical(labels.chunk))
        said[~whole, 1:] = PAD
        return {"action": self.backbone.word_loss(self.backbone.read(sight), said)}

    def act(self, sight: Sight) -> Written:
        """Codes of whole chunks."""
        backbone, actions = self.backbone, self.actions
        first = actions.begin(len(sight.state)).to(sight.state.device)
        begin, total = backbone.embedding(first), actions.tokens.symbols
        return write(backbone, actions.slots, backbone.read(sight), begin, actions.lengths(), total)


@SYSTEMS.register("pi0_fast")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> Pi0Fast:
    return Pi0Fast(parse(WritingConfig, {**model, **decoding}, "preset"), sizes)
