"""Chunks as words of a backbone: FAST tokens in place of the least used tokens of its vocabulary.

Pertsch et al. 2025, FAST, section V; Driess et al. 2025, knowledge insulation: the backbone learns to write them behind
the prefix, as it writes text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError
from vla_policy.core.systems.sizes import Fitting
from vla_policy.core.tokenizers.fast import FastTokens
from vla_policy.core.tokenizers.vocabulary_slots import VocabularySlots
from vla_policy.core.words import END, PAD

MOST_CHUNKS = 20_000  # that the merges are learnt from


@dataclass(frozen=True, slots=True)
class FastWordsConfig:
    """A preset's `actions` section.

    Attributes:
        vocabulary: Most action tokens; the first one begins a chunk.
        scale: Of FastTokens.fit.
        skip: Special tokens at the end of the backbone's vocabulary, which stay.
    """

    vocabulary: int = 1024
    scale: float = 10.0
    skip: int = 0


class FastWords(nn.Module):
    """Writes chunks in physical units as sentences: the token that begins a chunk, FAST tokens, the end.

    Args:
        config: Options.
        size: Tokens of the backbone's vocabulary.
    """

    def __init__(self, config: FastWordsConfig, size: int) -> None:
        super().__init__()
        self.config = config
        self.slots = VocabularySlots.overwritten(size, config.vocabulary, config.skip)
        self._tokens: FastTokens | None = None

    def fit(self, data: Fitting) -> None:
        """Learn scaling and merges.

        Raises:
            ConfigError: see FastTokens.fit.
        """
        chunks = data.chunk[:: max(1, len(data.chunk) // MOST_CHUNKS)].double().cpu().numpy()
        self._tokens = FastTokens.fit(chunks, self.config.scale, self.config.vocabulary - 1)

    def notes(self) -> dict[str, Any]:
        """The fitted tokenizer."""
        return self.tokens.metadata()

    def restore(self, notes: dict[str, Any]) -> None:
        """Inverse of `notes`."""
        self._tokens = FastTokens.from_metadata(notes)

    @property
    def tokens(self) -> FastTokens:
        """The fitted tokenizer.

        Raises:
            ConfigError: nothing was fitted or restored yet.
        """
        if self._tokens is None:
            raise ConfigError("FAST tokens before any data", "a fitted tokenizer", "call fit or restore first")
        return self._tokens

    def begin(self, rows: int) -> Tensor:
        """The token that begins a chunk, int64 (rows,1)."""
        return self.slots.tokens(torch.zeros(rows, 1, dtype=torch.long))

    def lengths(self) -> Tensor:
        """Coefficients per code, int64 (vocabulary,); what holds none counts as more than a chunk has room for."""
        known = torch.from_numpy(self.tokens.lengths())
        never = known.new_full((self.config.vocabulary,), self.tokens.symbols + 1)
        return torch.cat([never[:1], known, never[len(known) + 1 :]])

    def decode(self, codes: Tensor) -> Tensor:
        """Chunks (B,T,D) in physical units, on the codes' device, of codes int64 (B,N) that slots hold; -1 is padding.

        Raises:
            TokenError: codes that are no whole chunk.
        """
        rows = [self.tokens.decode([code - 1 for code in row if code >= 0]) for row in codes.tolist()]
        return torch.from_numpy(np.stack(rows)).to(codes.device)

    def encode(self, chunks: Tensor) -> Tensor:
        """Sentences int64 (B,L), padded, on the chunks' device, of chunks (B,T,D) in physical units.

        Raises:
            TokenError: another shape, NaN or infinity.
        """
        rows = [self.tokens.encode(chunk) for chunk in chunks.double().cpu().numpy()]
        longest = max(map(len, rows))
        codes = torch.tensor([[0] + [code + 1 for code in row] + [0] * (longest - len(row)) for row in rows])
        length = torch.tensor([1 + len(row) for row in rows])[:, None]
        place = torch.arange(longest + 2)
        words = torch.cat([self.slots.tokens(codes), torch.full((len(rows), 1), PAD)], 1)
        words = torch.where(place == length, END, torch.where(place < length, words, PAD))
        return words.to(chunks.device)
