"""FAST: a chunk as a short sentence of frequencies (Pertsch et al., "FAST: Efficient Action Tokenization for
Vision-Language-Action Models", 2025, section V).

Each dimension is scaled by its 1st and 99th percentile to -1..1 and goes through the orthonormal cosine transform
(DCT-II) over time; coefficients are multiplied by `scale` and rounded; all dimensions' lowest frequency comes first,
then the next; byte-pair encoding shortens the sequence without loss. So the only error is that of rounding: 0.5/scale
per coefficient, and since the transform keeps lengths, at most sqrt(T) * 0.5/scale over the T steps of a dimension.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from vla_core.errors import ConfigError
from vla_core.types import Float32, Float64
from vla_policy.core.tokenizers.bounds import Bound, fit_bounds
from vla_policy.core.tokenizers.errors import TokenError

_FIRST_LETTER = 0x4E00  # 20,992 letters in a row, which nothing splits or normalises
_LETTERS = 20_992

Pair = tuple[int, int]


def dct_matrix(length: int) -> Float64:
    """Orthonormal DCT-II (K,T): row k is a cosine of k half periods over T = `length` steps."""
    k, t = np.arange(length)[:, None], np.arange(length)
    matrix = np.sqrt(2.0 / length) * np.cos(np.pi * (t + 0.5) * k / length)
    matrix[0] /= np.sqrt(2.0)
    return np.asarray(matrix, np.float64)


@dataclass(frozen=True, slots=True)
class FastTokens:
    """A fitted tokenizer for chunks (T,D).

    A coefficient c is the symbol c + reach; symbols are the first tokens, merged sequences of symbols follow.

    Attributes:
        low, high: (D,) what becomes -1 and 1, in the unit of the actions; equal: a dimension with one value.
        horizon: T.
        scale: Rounding steps per unit of a coefficient.
        reach: Coefficients -reach..reach, rounded, have a symbol; larger ones are clipped.
        merges: Pairs of tokens that become one, in the order in which they were learnt.
    """

    low: Bound
    high: Bound
    horizon: int
    scale: float
    reach: int
    merges: tuple[Pair, ...]
    _spelled: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)
    _bpe: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        spelled = _spell(2 * self.reach + 1, self.merges)
        words = [_letters(symbols) for symbols in spelled]
        vocabulary = {word: token for token, word in enumerate(words)}
        merges = [(words[left], words[right]) for left, right in self.merges]
        object.__setattr__(self, "_spelled", spelled)
        object.__setattr__(self, "_bpe", Tokenizer(BPE(vocab=vocabulary, merges=merges)))

    @classmethod
    def fit(cls, chunks: NDArray[np.floating[Any]], scale: float = 10.0, vocabulary: int = 1024) -> FastTokens:
        """Learn the scaling and the merges from chunks (N,T,D).

        Every chunk within the percentiles has symbols for its coefficients, as have the chunks of the data.

        Args:
            chunks: A sample of the data.
            scale: Larger is finer and gives more tokens; 10 in the paper.
            vocabulary: Most tokens, symbols among them; 1024 in the paper.

        Raises:
            ConfigError: chunks that can't be used, or more symbols than the vocabulary has room for.
        """
        values = np.asarray(chunks, np.float64)
        if values.ndim != 3 or not values.size or not scale > 0:
            raise ConfigError(f"chunks {values.shape}, scale {scale}", "chunks (N,T,D), scale > 0", "mend the data")
        low, high = fit_bounds(values.reshape(-1, values.shape[2]), "quantile")
        draft = cls(low, high, values.shape[1], scale, 0, ())
        coefficients = draft.coefficients(values)
        # A normalised dimension within -1..1 has length <= sqrt(T), and so has each of its coefficients.
        reach = max(math.ceil(scale * math.sqrt(values.shape[1])), int(np.abs(coefficients).max()))
        if 2 * reach + 1 > min(vocabulary, _LETTERS):
            got = f"coefficients up to {reach}, thus {2 * reach + 1} symbols"
            raise ConfigError(got, f"at most {min(vocabulary, _LETTERS)}", "remove outliers, or lower the scale")
        texts = [_letters(row) for row in (coefficients + reach).reshape(len(values), -1).tolist()]
        merges = _learn(texts, 2 * reach + 1, vocabulary)
        return cls(low, high, values.shape[1], scale, reach, merges)

    @classmethod
    def from_metadata(cls, data: dict[str, Any]) -> FastTokens:
        """Inverse of `metadata`."""
        merges = tuple((int(left), int(right)) for left, right in data["merges"])
        low, high = tuple(data["low"]), tuple(data["high"])
        return cls(low, high, data["horizon"], data["scale"], data["reach"], merges)

    def metadata(self) -> dict[str, Any]:
        """JSON-ready, for a weight file."""
        numbers: dict[str, Any] = {"horizon": self.horizon, "scale": self.scale, "reach": self.reach}
        merges = [list(pair) for pair in self.merges]
        return numbers | {"low": list(self.low), "high": list(self.high), "merges": merges}

    @property
    def vocabulary(self) -> int:
        """Number of tokens V."""
        return len(self._spelled)

    @property
    def symbols(self) -> int:
        """Symbols of a whole chunk: T * D."""
        return self.horizon * len(self.low)

    def lengths(self) -> NDArray[np.int64]:
        """Symbols per token (V,).

        Decoding that only ever writes a token which still fits ends with a whole chunk: single symbols always fit.
        """
        return np.array([len(symbols) for symbols in self._spelled], np.int64)

    def error_bound(self) -> Float64:
        """(D,) largest Euclidean norm over time of chunk minus decoded chunk, where no coefficient is clipped."""
        span = np.subtract(self.high, self.low)
        return np.asarray(math.sqrt(self.horizon) * 0.5 / self.scale * span / 2, np.float64)

    def coefficients(self, chunk: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
        """Rounded coefficients (...,T,D), frequencies first to last, of chunks (...,T,D); not clipped.

        Raises:
            TokenError: another shape, NaN or infinity.
        """
        values = np.asarray(chunk, np.float64)
        expected = (self.horizon, len(self.low))
        if values.shape[-2:] != expected or not np.isfinite(values).all():
            raise TokenError(f"a chunk of shape {values.shape}", f"(..., {expected}), finite", "mend the chunk")
        middle, half = self._scaling()
        normalised = np.divide(values - middle, half, out=np.zeros_like(values), where=half > 0)
        return np.rint(self.scale * (dct_matrix(self.horizon) @ normalised)).astype(np.int64)

    def encode(self, chunk: NDArray[np.floating[Any]]) -> list[int]:
        """Tokens of a chunk (T,D); coefficients beyond the reach are clipped.

        Raises:
            TokenError: another shape, NaN or infinity.
        """
        symbols = self.coefficients(chunk).clip(-self.reach, self.reach) + self.reach
        tokens: list[int] = self._bpe.encode(_letters(symbols.reshape(-1).tolist())).ids
        return tokens

    def decode(self, tokens: Sequence[int]) -> Float32:
        """Chunk (T,D) of a sequence of tokens.

        Raises:
            TokenError: an unknown token, or a sequence that is no whole chunk. There is no chunk to go on with then.
        """
        unknown = [token for token in tokens if not 0 <= token < self.vocabulary]
        if unknown:
            raise TokenError(f"token {unknown[0]}", f"0..{self.vocabulary - 1}", "decode with action tokens only")
        symbols = [symbol for token in tokens for symbol in self._spelled[token]]
        if len(symbols) != self.symbols:
            got = f"{len(tokens)} tokens that spell {len(symbols)} coefficients"
            raise TokenError(got, f"{self.horizon} x {len(self.low)}", "reject the chunk, or write only what fits")
        coefficients = np.array(symbols, np.float64).reshape(self.horizon, -1) - self.reach
        middle, half = self._scaling()
        return np.asarray(dct_matrix(self.horizon).T @ coefficients / self.scale * half + middle, np.float32)

    def _scaling(self) -> tuple[Float64, Float64]:
        low, high = np.array(self.low), np.array(self.high)
        return (low + high) / 2, (high - low) / 2


def _letters(symbols: Sequence[int]) -> str:
    return "".join(chr(_FIRST_LETTER + symbol) for symbol in symbols)


def _spell(symbols: int, merges: Sequence[Pair]) -> tuple[tuple[int, ...], ...]:
    """The symbols that every token stands for; two ways to merge the same sequence give one token."""
    table: list[tuple[int, ...]] = [(symbol,) for symbol in range(symbols)]
    known = set(table)
    for left, right in merges:
        word = table[left] + table[right]
        if word not in known:
            known.add(word)
            table.append(word)
    return tuple(table)


def _learn(texts: Sequence[str], symbols: int, vocabulary: int) -> tuple[Pair, ...]:
    """Merges as pairs of tokens, numbered as by `_spell`."""
    alphabet = [chr(_FIRST_LETTER + symbol) for symbol in range(symbols)]
    bpe = Tokenizer(BPE())
    trainer = BpeTrainer(vocab_size=vocabulary, min_frequency=2, show_progress=False, initial_alphabet=alphabet)
    bpe.train_from_iterator(texts, trainer)
    token = {letter: i for i, letter in enumerate(alphabet)}
    merges = []
    for left, right in json.loads(bpe.to_str())["model"]["merges"]:
        merges.append((token[left], token[right]))
        token.setdefault(left + right, len(token))
    return tuple(merges)
