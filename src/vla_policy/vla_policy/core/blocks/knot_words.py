"""Knots of a chunk as words of a backbone: every bin in place of one of the least used tokens of its vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.code_writer import NONE, Written, write
from vla_policy.core.blocks.knot_bins import KnotBins
from vla_policy.core.blocks.knots import Knots
from vla_policy.core.blocks.vlm import Read, SmallVlm
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.tokenizers.vocabulary_slots import VocabularySlots


@dataclass(frozen=True, slots=True)
class KnotWordsConfig:
    """A preset's `actions` section.

    Attributes:
        knots: Steps of the chunk that have words, D each; one step in the papers.
        bins: Per value.
        skip: Special tokens at the end of the backbone's vocabulary, which stay.
    """

    knots: tuple[int, ...]
    bins: int = 256
    skip: int = 0


class KnotWords(nn.Module):
    """Chunks in physical units as codes of a backbone's vocabulary.

    Args:
        config: Options.
        kind: Of the bins' bounds, see `fit_bounds`.
        sizes: Of the chunk.
        size: Tokens of the backbone's vocabulary.
    """

    def __init__(self, config: KnotWordsConfig, kind: str, sizes: Sizes, size: int) -> None:
        super().__init__()
        self.bins = KnotBins(Knots(config.knots, sizes.horizon), sizes.action_width, kind, config.bins)
        self.slots = VocabularySlots.overwritten(size, config.bins, config.skip)

    def encode(self, chunk: Tensor, known: Tensor) -> Tensor:
        """Codes int64 (B,K*D) of chunks (B,T,D); NONE where no label is known, bool (B,T)."""
        return torch.where(self.bins.known(known), self.bins.encode(chunk), NONE)

    def decode(self, codes: Tensor) -> Tensor:
        """Chunks (B,T,D) of codes (B,K*D)."""
        return self.bins.decode(codes)

    def write(self, backbone: SmallVlm, read: Read, begin: Tensor) -> Written:
        """K*D codes behind a prefix and embedded tokens (B,N,C), in as many passes."""
        ones = torch.ones(self.slots.count, dtype=torch.long)
        return write(backbone, self.slots, read, begin, ones, self.bins.tokens)
