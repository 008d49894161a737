"""From a sentence's token states to what each role of the task looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.attention import DecoderBlock, learned


@dataclass(frozen=True, slots=True)
class RoleReaderConfig:
    """Sizes of RoleReader. `encoder` names the frozen text encoder, `text_width` its token width."""

    block: str
    encoder: str
    max_tokens: int
    text_width: int
    sentence_width: int
    width: int
    layers: int
    heads: int
    roles: int


class Reading(NamedTuple):
    """What an instruction says; computed once per instruction.

    Attributes:
        roles: (B,R,width) state of each role: what it is and what is to be done with it.
        queries: (B,R,C) to be matched with image features.
        sentence: (B,sentence_width) whitened sentence embedding.
    """

    roles: Tensor
    queries: Tensor
    sentence: Tensor


class RoleReader(nn.Module):
    """Learned role queries cross-attend to the token states.

    A sentence embedding alone loses who goes where ("the red cube in the blue bowl"), token states keep it. Frozen
    embeddings of similar commands almost coincide, so they are whitened with the statistics of the training set.
    """

    token_mean: Tensor
    token_std: Tensor
    sentence_mean: Tensor
    sentence_std: Tensor

    def __init__(self, config: RoleReaderConfig, features: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.tokens = nn.Linear(config.text_width, width)
        self.sentence = nn.Linear(config.sentence_width, width)
        self.roles = learned(1, config.roles, width)
        self.blocks = nn.ModuleList(DecoderBlock(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, features)
        for name, size in (("token", config.text_width), ("sentence", config.sentence_width)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def forward(self, tokens: Tensor, mask: Tensor, sentence: Tensor) -> Reading:
        """Tokens (B,L,text_width), mask bool (B,L), sentence (B,sentence_width)."""
        sentence = (sentence - self.sentence_mean) / self.sentence_std
        words = self.tokens((tokens - self.token_mean) / self.token_std)
        context = torch.cat([self.sentence(sentence)[:, None], words], 1)
        allowed = torch.cat([torch.ones_like(mask[:, :1]), mask], 1)[:, None, None]
        x = self.roles.expand(tokens.shape[0], -1, -1)
        for block in self.blocks:
            x = block(x, block.attend_cross.keys_values(context), allowed)  # type: ignore[union-attr, operator]
        x = self.norm(x)
        return Reading(x, self.query(x), sentence)
