"""Published vision-language models behind the methods of the small one (blocks/vlm.py): the same systems at full size.

They are loaded by Hugging Face transformers from a local folder. Their keys and values are those that an action expert
reads; what they see are the images themselves and the instruction, not what frozen eyes made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError, PolicyError
from vla_policy.core.blocks.decoder import Cache, DecoderConfig
from vla_policy.core.blocks.hf_families import Family, Prompt, load_family
from vla_policy.core.blocks.hf_loading import colours
from vla_policy.core.blocks.hf_words import HfEmbedding, HfSpeech, HfWords
from vla_policy.core.blocks.vlm import Read, SmallVlm
from vla_policy.core.images import padded
from vla_policy.core.sight import Sight, spoken
from vla_policy.core.systems.sizes import Fitting, Sizes

PREFIXES = ("as_trained", "bidirectional", "causal")


@dataclass(frozen=True, slots=True)
class HfVlmConfig:
    """A preset's `backbone` section.

    Attributes:
        block: 'hf_vlm'.
        path: Local folder of the model.
        prefix: Who of the prefix sees whom: 'as_trained', or as pi0 and SmolVLA 'bidirectional', or 'causal'.
        words: Tokens that an instruction has room for.
        state: The robot's state is the prefix' last token.
        added: Tokens behind the published ones, for actions.
        image: Edge of the images [pixel]; 0: the model's own.
        dtype: Of the published weights.
    """

    block: str
    path: str
    prefix: str = "as_trained"
    words: int = 48
    state: bool = True
    added: int = 0
    image: int = 0
    dtype: str = "float32"


class HfSight(nn.Module):
    """Embeds images and instruction: before, every view, the padded instruction, the state.

    Attributes:
        lead: Tokens up to the last image, the same in every row.
    """

    needs = frozenset({"rgb", "instruction"})
    mean: Tensor
    std: Tensor

    def __init__(
        self, config: HfVlmConfig, family: Family, words: HfWords, embedding: HfEmbedding, sizes: Sizes
    ) -> None:
        super().__init__()
        self.vision, self.edge, self.views, self.room = family.vision, family.edge, sizes.views, config.words
        self.prompt, self.words, self._embedding = family.prompt, words, (embedding,)
        prompt = family.prompt
        self.pieces = {text: words.pieces(text) for text in (prompt.before, prompt.opened, prompt.closed)}
        per_view = family.grid[0] * family.grid[1] + sum(len(self.pieces[t]) for t in (prompt.opened, prompt.closed))
        self.lead = len(self.pieces[prompt.before]) + sizes.views * per_view
        if config.state:
            self.state = nn.Linear(sizes.state, family.config.width)
        self.has_state = config.state
        mean, std = colours(Path(config.path), family.mean, family.std)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, sight: Sight) -> tuple[Tensor, Tensor]:
        """Tokens (B,N,C) and which of them are valid, bool (B,N).

        Raises:
            PolicyError: no images or no instruction, or one that is too long.
        """
        if sight.rgb is None or sight.instruction is None:
            raise PolicyError("a sight without images or instruction", "both", "let the eyes keep what `needs` names")
        batch, embedding, prompt = len(sight.state), self._embedding[0], self.prompt
        images = padded(sight.rgb.flatten(0, 1).permute(0, 3, 1, 2).float() / 255, self.edge, self.edge, centred=True)
        dtype = embedding.weight.dtype
        seen = self.vision(((images - self.mean) / self.std).to(dtype)).unflatten(0, (batch, self.views))

        def fixed(text: str) -> Tensor:
            ids = torch.tensor(self.pieces[text], dtype=torch.long, device=seen.device)
            return embedding.own(ids).expand(batch, -1, -1)

        parts = [fixed(prompt.before)]
        for view in range(self.views):
            parts += [fixed(prompt.opened), seen[:, view].to(dtype), fixed(prompt.closed)]
        ids, valid = self._told(spoken(sight.instruction), embedding)
        parts.append(embedding.own(ids.to(seen.device)))
        known = [torch.ones(batch, self.lead, dtype=torch.bool, device=seen.device), valid.to(seen.device)]
        if self.has_state:
            parts.append(self.state(sight.state)[:, None].to(dtype))
            known.append(known[0].new_ones(batch, 1))
        return torch.cat(parts, 1), torch.cat(known, 1)

    def _told(self, texts: Sequence[str], embedding: HfEmbedding) -> tuple[Tensor, Tensor]:
        """Ids (B,`words`) of the instructions and what stands around them, and which are valid."""
        pad, begin, _ = embedding.places[:3].tolist()
        rows = [[begin] * self.prompt.begin + self.words.pieces(text + self.prompt.after) for text in texts]
        longest = max(len(row) for row in rows)
        if longest > self.room:
            got = f"an instruction of {longest} tokens"
            raise PolicyError(got, f"at most {self.room}", "say it shorter, or enlarge backbone: words")
        ids = torch.tensor([row + [pad] * (self.room - len(row)) for row in rows])
        return ids, torch.tensor([[i < len(row) for i in range(self.room)] for row in rows])


class HfDecoder(nn.Module):
    """A published decoder with the calls of ours (blocks/decoder.py)."""

    def __init__(self, language: Any, config: DecoderConfig) -> None:
        super().__init__()
        self.language, self.config = language, config

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor | None = None, past: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """See Decoder.forward; positions (B,M), (1,M), or (3,B,M) where images stand in rows and columns."""
        from transformers import DynamicCache

        batch, count = x.shape[:2]
        cache = DynamicCache()
        for layer, (key, value) in enumerate(past or ()):
            cache.update(key, value, layer)
        known = past[0][0].shape[2] if past else 0
        allowed = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=x.device) if mask is None else mask
        allowed = allowed.expand(batch, 1, count, known + count)
        low = torch.finfo(x.dtype).min
        bias = torch.zeros(allowed.shape, dtype=x.dtype, device=x.device).masked_fill(~allowed, low)
        places = positions.expand(*positions.shape[:-2], batch, count)
        out = self.language(
            inputs_embeds=x, attention_mask=bias, position_ids=places, past_key_values=cache, use_cache=True
        )
        return out.last_hidden_state, [(layer.keys, layer.values) for layer in out.past_key_values.layers]


class HfVlm(SmallVlm):
    """See the module.

    Attributes:
        static: See System: it reads the instruction's letters.
    """

    static = False
    places: Tensor

    def __init__(self, config: HfVlmConfig, sizes: Sizes) -> None:
        """Load the model.

        Raises:
            WeightsError, UnknownNameError, ConfigError: see load_family; also an unknown `prefix`.
        """
        nn.Module.__init__(self)
        if config.prefix not in PREFIXES:
            raise ConfigError(f"backbone: prefix {config.prefix}", f"one of {', '.join(PREFIXES)}", "mend the preset")
        folder = Path(config.path)
        family = load_family(folder, config.image, config.dtype)
        self.hf_config, self.decoder_config = config, family.config
        self.causal = not family.bidirectional if config.prefix == "as_trained" else config.prefix == "causal"
        hf_words = HfWords(folder, family.table.num_embeddings)
        self.embedding = HfEmbedding(family.table, _special(hf_words), config.added)  # type: ignore[assignment]
        self.speak = HfSpeech(family.head, self.embedding)  # type: ignore[assignment, arg-type]
        self.words = hf_words  # type: ignore[assignment]
        self.see = HfSight(config, family, hf_words, self.embedding, sizes)  # type: ignore[assignment, arg-type]
        self.decoder = HfDecoder(family.language, family.config)  # type: ignore[assignment]
        places = _places(family, family.prompt, self.see, sizes.views)  # type: ignore[arg-type]
        self.register_buffer("places", places, persistent=False)
        self.next = int(places.max()) + 1 if places.numel() else 0

    def fit(self, data: Fitting) -> None:
        """Nothing: it comes with its words."""

    def notes(self) -> dict[str, Any]:
        """Nothing: the folder must be there anyway."""
        return {}

    def restore(self, notes: dict[str, Any]) -> None:
        """Inverse of `notes`."""

    def read_tokens(self, tokens: Tensor, valid: Tensor) -> Read:
        """From embedded tokens (B,N,C) and their validity (B,N), the first of them those of `see`."""
        lead, count = self.places.shape[1], tokens.shape[1]
        behind = self.next + valid[:, lead:].long().cumsum(1).sub(1).clamp(min=0)
        axes = self.places.shape[0]
        positions = torch.cat([self.places[:, None].expand(axes, len(valid), lead), behind.expand(axes, -1, -1)], 2)
        mask = valid[:, None, None].expand(-1, 1, count, -1)
        if self.causal:
            mask = mask & torch.ones(count, count, dtype=torch.bool, device=tokens.device).tril()
        hidden, cache = self.decoder(tokens, positions if axes > 1 else positions[0], mask)
        return Read(hidden, valid, cache)

    def extend(
        self, read: Read, tokens: Tensor, mask: Tensor | None = None, before: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """See SmallVlm.extend; padding takes no position."""
        past = read.cache if before is None else before
        gone, count = past[0][0].shape[2] - read.valid.shape[1], tokens.shape[1]
        if mask is None:
            mask = torch.ones(count, gone + count, dtype=torch.bool, device=tokens.device).tril(gone)
        mask = mask.expand(len(tokens), count, gone + count)
        seen = read.valid[:, None].expand(-1, count, -1)
        first = self.next + read.valid[:, self.places.shape[1] :].sum(1, keepdim=True) + gone
        positions = first + torch.arange(count, device=tokens.device)
        return self.decoder(tokens, positions, torch.cat([seen, mask], 2)[:, None], past)  # type: ignore[no-any-return]


def _special(words: HfWords) -> tuple[int, int, int]:
    """Ids of padding, begin and end, by the names that published tokenizers give them.

    Raises:
        ConfigError: the tokenizer has no token that ends a text.
    """

    def find(*names: str) -> int | None:
        found = (words.tokenizer.token_to_id(name) for name in names)
        return next((i for i in found if i is not None), None)

    end = find("<eos>", "<end_of_utterance>", "<|im_end|>", "</s>", "<|endoftext|>")
    if end is None:
        raise ConfigError("a tokenizer without an end token", "<eos>, <|im_end|> or the like", "use another model")
    begin = find("<bos>", "<|im_start|>", "<s>")
    pad = find("<pad>", "<|endoftext|>", "<|im_end|>")
    return end if pad is None else pad, end if begin is None else begin, end


def _places(family: Family, prompt: Prompt, see: HfSight, views: int) -> Tensor:
    """Positions (1,lead) of the tokens up to the last image, or (3,lead) in time, rows and columns."""
    rows, columns = family.grid
    if not family.rows_and_columns:
        return torch.arange(see.lead)[None]
    parts, start = [], 0

    def text(piece: str) -> None:
        nonlocal start
        count = len(see.pieces[piece])
        parts.append((start + torch.arange(count)).expand(3, -1))
        start += count

    text(prompt.before)
    for _ in range(views):
        text(prompt.opened)
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        parts.append(start + torch.stack([torch.zeros_like(row), row, column]).flatten(1))
        start += max(rows, columns)
        text(prompt.closed)
    return torch.cat(parts, 1)
