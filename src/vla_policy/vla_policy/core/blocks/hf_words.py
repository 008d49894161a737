"""A published tokenizer behind the methods of `core/words.py`.

Systems count on three tokens: PAD, BEGIN and END are 0, 1 and 2. So token i of the tokenizer is i + 3 here, and those
three stand for its own special ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from vla_core.errors import WeightsError
from vla_policy.core.words import BEGIN, END, PAD

SHIFT = 3


class HfWords:
    """Text to tokens and back.

    Args:
        folder: With a tokenizer.json.
        size: Rows of the model's embedding.

    Raises:
        WeightsError: no such file, or one with tokens that the model doesn't know.
    """

    def __init__(self, folder: Path, size: int) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise WeightsError(f"no file {path}", "the model's tokenizer", "fetch it to that folder")
        self.tokenizer, self.size = Tokenizer.from_file(str(path)), size
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if self.tokenizer.get_vocab_size() > size:
            got = f"{self.tokenizer.get_vocab_size()} tokens for {size} embeddings"
            raise WeightsError(got, "the tokenizer of this model", "fetch both from one place")

    def __len__(self) -> int:
        return SHIFT + self.size

    def pieces(self, text: str) -> list[int]:
        """The tokenizer's own ids of a text, special tokens in it recognised, none added."""
        return [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False).ids]

    def encode(self, text: str) -> list[int]:
        """Tokens, without begin and end."""
        return [SHIFT + i for i in self.pieces(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text up to the end; special and added tokens are left out."""
        out = []
        for token in tokens:
            if token == END:
                break
            if SHIFT <= token < len(self):
                out.append(token - SHIFT)
        return str(self.tokenizer.decode(out)).strip()

    def batch(self, texts: Sequence[str]) -> Tensor:
        """Tokens (B,L) int64: begin, the text, end, padding."""
        rows = [[BEGIN, *self.encode(text), END] for text in texts]
        longest = max(len(row) for row in rows)
        return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])


class HfEmbedding(nn.Module):
    """Tokens of HfWords to states: the published ones, then some that are learned.

    Args:
        table: The model's embedding, with its scale where it has one.
        special: Its ids of PAD, BEGIN and END.
        added: Tokens behind the published ones, such as those of actions.
    """

    places: Tensor

    def __init__(self, table: nn.Embedding, special: tuple[int, int, int], added: int) -> None:
        super().__init__()
        self.table, self.num_embeddings = table, SHIFT + table.num_embeddings + added
        known = [*special, *range(table.num_embeddings), *[special[PAD]] * added]
        self.register_buffer("places", torch.tensor(known), persistent=False)
        spread = float(table.weight.detach().float().std())
        self.added = nn.Parameter(spread * torch.randn(added, table.embedding_dim, dtype=table.weight.dtype))

    @property
    def weight(self) -> Tensor:
        """The published table."""
        return self.table.weight

    def own(self, ids: Tensor) -> Tensor:
        """States of the tokenizer's own ids."""
        out: Tensor = self.table(ids)
        return out

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 (...) to (...,C)."""
        known = self.own(self.places[tokens])
        if not len(self.added):
            return known
        first = self.num_embeddings - len(self.added)
        new = self.added[(tokens - first).clamp(min=0)]
        return torch.where((tokens >= first)[..., None], new, known)


class HfSpeech(nn.Module):
    """States to logits of the tokens of HfWords.

    Args:
        head: The model's output layer; None where it speaks with its embedding.
        embedding: Of the same tokens.
    """

    special: Tensor

    def __init__(self, head: nn.Linear | None, embedding: HfEmbedding) -> None:
        super().__init__()
        self.head = head
        self._shared = (embedding,)  # not registered a second time
        added, width = embedding.added.shape
        self.added = nn.Parameter(embedding.added.detach().clone()) if added else nn.Parameter(torch.zeros(0, width))
        self.register_buffer("special", embedding.places[:SHIFT].clone(), persistent=False)

    @property
    def weight(self) -> Tensor:
        """Rows (V,C) of all tokens; those of PAD, BEGIN and END are copies."""
        table = self._shared[0].table.weight if self.head is None else self.head.weight
        return torch.cat([table[self.special], table, self.added.to(table.dtype)])

    def forward(self, hidden: Tensor) -> Tensor:
        """(...,C) to (...,V); a special token can be said under its new number only."""
        table = self._shared[0].table.weight if self.head is None else self.head.weight
        known = hidden @ table.T
        first = known[..., self.special]
        known = known.index_fill(-1, self.special, -torch.inf)
        return torch.cat([first, known, hidden @ self.added.T.to(hidden.dtype)], -1)
