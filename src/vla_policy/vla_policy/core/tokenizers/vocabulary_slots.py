"""Which token ids of a vocabulary stand for actions, and how a language model is held to them.

RT-2 (Brohan et al. 2023, section 3.2) gives actions tokens of the vocabulary and, when asked to act, samples from these
alone. OpenVLA (Kim et al. 2024, section 3.2) overwrites the 256 least used tokens of the Llama tokenizer, which are its
last ones, counted down: 31999, 31998, ... pi0-FAST (Pertsch et al. 2025) does so below PaliGemma's last 128 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vla_core.errors import ConfigError
from vla_policy.core.tokenizers.errors import TokenError


@dataclass(frozen=True, slots=True)
class VocabularySlots:
    """Action code i, 0..count-1, is token `first` + i, or `first` - i.

    Attributes:
        size: Rows V of the model's logits.
        first: Token of code 0.
        count: How many codes: bins of an action value, or the vocabulary of another action tokenizer.
        descending: Whether later codes have smaller ids.

    Raises:
        ConfigError: a code would lie outside of the vocabulary.
    """

    size: int
    first: int
    count: int
    descending: bool

    def __post_init__(self) -> None:
        last = self.first + (self.count - 1) * (-1 if self.descending else 1)
        if self.count < 1 or not 0 <= min(self.first, last) <= max(self.first, last) < self.size:
            got = f"{self.count} action tokens {self.first}..{last}"
            raise ConfigError(got, f"at least one, among the tokens 0..{self.size - 1}", "use fewer, or a larger table")

    @classmethod
    def appended(cls, vocabulary: int, count: int) -> VocabularySlots:
        """New tokens after the `vocabulary` that there are; V = vocabulary + count."""
        return cls(vocabulary + count, vocabulary, count, descending=False)

    @classmethod
    def overwritten(cls, vocabulary: int, count: int, skip: int = 0, size: int | None = None) -> VocabularySlots:
        """The least used tokens of a vocabulary, which byte-pair encoding numbers last.

        Args:
            vocabulary: Size of the tokenizer: 32000 for Llama 2.
            count: Codes.
            skip: Special tokens at its very end, which stay: 128 for PaliGemma.
            size: Rows of the logits where they are padded, such as 32064 of OpenVLA.
        """
        return cls(vocabulary if size is None else size, vocabulary - 1 - skip, count, descending=True)

    def tokens(self, codes: Tensor) -> Tensor:
        """Token ids of codes, int64 of any shape.

        Raises:
            TokenError: no such code.
        """
        self._check(codes, f"codes 0..{self.count - 1}", codes)
        return self.first - codes if self.descending else self.first + codes

    def codes(self, tokens: Tensor) -> Tensor:
        """Inverse of `tokens`.

        Raises:
            TokenError: a token that stands for no action.
        """
        codes = self.first - tokens if self.descending else tokens - self.first
        self._check(codes, f"action tokens {self.first} {'down' if self.descending else 'up'}, {self.count}", tokens)
        return codes

    def mask(self, allowed: Tensor | None = None) -> Tensor:
        """Which tokens may be written, bool (V,), or (...,V).

        Args:
            allowed: Bool (...,count): the codes that may, such as those that still fit; None: all.
        """
        codes = torch.ones(self.count, dtype=torch.bool) if allowed is None else allowed
        mask = torch.zeros(*codes.shape[:-1], self.size, dtype=torch.bool, device=codes.device)
        mask[..., self.tokens(torch.arange(self.count, device=codes.device))] = codes
        return mask

    def constrain(self, logits: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Logits (...,V) with minus infinity wherever no action may be written, so that text can't reach a robot."""
        return logits.masked_fill(~self.mask(allowed).to(logits.device), -torch.inf)

    def _check(self, codes: Tensor, expected: str, shown: Tensor) -> None:
        wrong = shown[(codes < 0) | (codes >= self.count)]
        if wrong.numel():
            raise TokenError(f"{int(wrong[0])} and {wrong.numel() - 1} more", expected, "decode with `constrain`")
