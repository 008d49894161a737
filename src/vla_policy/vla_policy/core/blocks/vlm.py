"""The small vision-language model that language-model systems build on: a prefix of what is seen and read, then words.

Same parts and masks as PaliGemma (Beyer et al. 2024): the prefix sees itself in both directions, what is said sees the
prefix and what was said before. `blocks/hf_vlm.py` wraps published ones behind the same methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import ConfigError
from vla_core.files import asset_path
from vla_policy.core.blocks.decoder import Cache, Decoder, DecoderConfig
from vla_policy.core.blocks.sight_tokens import SightTokens, SightTokensConfig
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.weights import fill, read_weights
from vla_policy.core.words import END, PAD, Words

_PART = "backbone."  # of the system that a `start` weight file belongs to
_SEE = "see."  # what may have more than a `start` weight file knows


@dataclass(frozen=True, slots=True)
class SmallVlmConfig:
    """A preset's `backbone` section.

    Attributes:
        block: 'small_vlm'.
        tokens: Options of SightTokens. decoder: Sizes of the Decoder.
        vocabulary: Tokens, of which the last ones stay free for actions.
        start: Weight file that the backbone begins with, as in Preset.weights; empty: from nothing.
        first_layers: Layers that are run, without those behind them (Shukor et al. 2025, SmolVLA; Lin et al. 2025,
            Evo-1); 0: all.
    """

    block: str
    tokens: dict[str, Any]
    decoder: dict[str, Any]
    vocabulary: int
    start: str = ""
    first_layers: int = 0


class Read(NamedTuple):
    """A prefix that has been read.

    Attributes:
        hidden: (B,N,C) states of its tokens.
        valid: (B,N) bool.
        cache: Keys and values of every layer; all that later tokens need.
    """

    hidden: Tensor
    valid: Tensor
    cache: Cache


class SmallVlm(nn.Module):
    """Reads a Sight, speaks in tokens of a vocabulary."""

    def __init__(self, config: SmallVlmConfig, sizes: Sizes) -> None:
        super().__init__()
        self.config = config
        decoder = parse(DecoderConfig, config.decoder, "backbone: decoder").check()
        if not 0 <= config.first_layers <= decoder.layers:
            got = f"the first {config.first_layers} of {decoder.layers} layers"
            raise ConfigError(got, "at most all of them", "mend backbone: first_layers")
        self.decoder_config = replace(decoder, layers=config.first_layers or decoder.layers)
        width = self.decoder_config.width
        self.see = SightTokens(parse(SightTokensConfig, config.tokens, "backbone: tokens"), sizes, width)
        self.decoder = Decoder(self.decoder_config)
        self.words = Words()
        self.embedding = nn.Embedding(config.vocabulary, width)
        self.speak = nn.Linear(width, config.vocabulary, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.1)

    @property
    def needs(self) -> frozenset[str]:
        """See System.needs."""
        return self.see.needs

    def fit(self, data: Fitting) -> None:
        """Begin with the `start` weights, or collect the words of the data.

        Raises:
            ConfigError: more words than tokens.
            WeightsError: the `start` weights are missing, corrupt or of another size.
        """
        if self.config.start:
            tensors, metadata = read_weights(asset_path(self.config.start))
            own = {name.removeprefix(_PART): part for name, part in tensors.items() if name.startswith(_PART)}
            seen = {name.removeprefix(_SEE): part for name, part in own.items() if name.startswith(_SEE)}
            own |= {f"{_SEE}{name}": part for name, part in self.see.completed(seen).items()}
            layers = range(self.decoder_config.layers, self.config.decoder["layers"])
            left_out = tuple(f"decoder.layers.{layer}." for layer in layers)
            own = {name: part for name, part in own.items() if not name.startswith(left_out)}
            fill(self, own, self.config.start)
            self.restore(metadata.notes["system"][_PART.rstrip(".")])
            return
        self.words = Words.of(data.texts)
        if len(self.words) > self.config.vocabulary:
            got = f"{len(self.words)} words for backbone: vocabulary {self.config.vocabulary}"
            raise ConfigError(got, "at most as many words as tokens", "enlarge backbone: vocabulary")

    def notes(self) -> dict[str, Any]:
        """The words."""
        return {"words": list(self.words.words)}

    def restore(self, notes: dict[str, Any]) -> None:
        """Inverse of `notes`."""
        self.words = Words(notes["words"])

    def read(self, sight: Sight) -> Read:
        """Both directions, once per observation."""
        tokens, valid = self.see(sight)
        return self.read_tokens(tokens, valid)

    def read_tokens(self, tokens: Tensor, valid: Tensor) -> Read:
        """The same from embedded tokens (B,N,C) and their validity (B,N); padding, at the end, takes no position.

        What follows stands from position N on whatever is padded, so the prefix ends there: only distances count.
        """
        count = tokens.shape[1]
        positions = torch.arange(count, device=tokens.device) + count - valid.sum(1, keepdim=True)
        hidden, cache = self.decoder(tokens, positions, valid[:, None, None])
        return Read(hidden, valid, cache)

    def extend(
        self, read: Read, tokens: Tensor, mask: Tensor | None = None, before: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """Go on behind a prefix.

        Args:
            read: The prefix.
            tokens: (B,M,C) embedded.
            mask: Who of the M sees whom of the K+M after the prefix, bool (M,K+M) or (B,M,K+M); None: causal.
            before: Cache of prefix and K tokens behind it, from an earlier call; None: K = 0.

        Returns:
            States (B,M,C), and the cache of everything.
        """
        past = read.cache if before is None else before
        prefix, known, count = read.valid.shape[1], past[0][0].shape[2], tokens.shape[1]
        gone = known - prefix
        if mask is None:
            mask = torch.ones(count, gone + count, dtype=torch.bool, device=tokens.device).tril(gone)
        mask = mask.expand(len(tokens), count, gone + count)
        seen = read.valid[:, None].expand(-1, count, -1)
        positions = torch.arange(known, known + count, device=tokens.device)[None]
        return self.decoder(tokens, positions, torch.cat([seen, mask], 2)[:, None], past)  # type: ignore[no-any-return]

    def appended(self, read: Read, tokens: Tensor) -> Read:
        """The prefix with words (B,L), padded, behind it: for what is to follow as if they had been given."""
        hidden, cache = self.extend(read, self.embedding(tokens))
        return Read(torch.cat([read.hidden, hidden], 1), torch.cat([read.valid, tokens != PAD], 1), cache)

    def say(self, read: Read, begin: Tensor, limit: int, allowed: Tensor | None = None) -> tuple[Tensor, int]:
        """Greedy words behind a prefix.

        Args:
            read: The prefix, B rows.
            begin: (B,) or (B,K) first tokens.
            limit: Most tokens.
            allowed: bool (V,) tokens that may be said; None: all.

        Returns:
            Tokens (B,<=limit) after `begin`, padded after the end, and the passes that they took.
        """
        token = begin if begin.dim() == 2 else begin[:, None]
        cache: Cache | None = None
        out: list[Tensor] = []
        done = torch.zeros(len(token), dtype=torch.bool, device=token.device)
        while len(out) < limit and not bool(done.all()):
            hidden, cache = self.extend(read, self.embedding(token), None, cache)
            logits = self.speak(hidden[:, -1])
            if allowed is not None:
                logits = logits.masked_fill(~allowed, -torch.inf)
            said = torch.where(done, PAD, logits.argmax(-1))
            done = done | (said == END)
            out.append(said)
            token = said[:, None]
        return torch.stack(out, 1), len(out)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Texts as tokens (B,L) on the backbone's device: begin, the text, end, padding."""
        return self.words.batch(texts).to(self.embedding.weight.device)

    def word_loss(self, read: Read, tokens: Tensor) -> Tensor:
        """Cross-entropy of texts (B,L) that begin with their first token, given the prefix; padding bears none."""
        hidden, _ = self.extend(read, self.embedding(tokens[:, :-1]))
        return F.cross_entropy(self.speak(hidden).flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)
