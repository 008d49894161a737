"""Words as tokens, for small backbones that read and speak; real ones bring their own tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from vla_core.errors import UnknownNameError

PAD, BEGIN, END = 0, 1, 2
_SPECIAL = ("<pad>", "<bos>", "<eos>")


def split(text: str) -> list[str]:
    """Words and numbers of a text, lower case."""
    return re.findall(r"<[a-z0-9]+>|[a-z0-9'-]+", text.lower())


class Words:
    """One token per word, after the special ones; tokens behind the last word are free.

    Args:
        words: All but the special ones, in the order of their tokens.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.words = tuple(words)
        self._place = {word: i for i, word in enumerate((*_SPECIAL, *self.words))}

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words:
        """All words that occur."""
        return cls(sorted({word for text in texts for word in split(text)}))

    def __len__(self) -> int:
        return len(self._place)

    def encode(self, text: str) -> list[int]:
        """Tokens, without begin and end.

        Raises:
            UnknownNameError: a word that was never learnt.
        """
        words = split(text)
        for word in words:
            if word not in self._place:
                raise UnknownNameError("word", word, self.words)
        return [self._place[word] for word in words]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text up to the end; free and special tokens are left out."""
        known = (*_SPECIAL, *self.words)
        out = []
        for token in tokens:
            if token == END:
                break
            if len(_SPECIAL) <= token < len(known):
                out.append(known[token])
        return " ".join(out)

    def batch(self, texts: Sequence[str]) -> Tensor:
        """Tokens (B,L) int64: begin, the text, end, padding."""
        rows = [[BEGIN, *self.encode(text), END] for text in texts]
        longest = max(len(row) for row in rows)
        return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
