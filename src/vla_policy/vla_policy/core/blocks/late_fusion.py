"""Vision and language side by side, fused only where actions are made (Chen et al. 2025, NanoVLA, vision-language
decoupling).

Language never sees an image and vision never sees a word, so what an instruction makes of itself, down to the keys and
values that the actions attend to, is computed once per instruction. Every layer of the fusion attends from the actions
to each other, then to both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.attention import DecoderBlock, learned
from vla_policy.core.blocks.decoder import Decoder, DecoderConfig
from vla_policy.core.blocks.sight_tokens import SightTokens, SightTokensConfig
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes


@dataclass(frozen=True, slots=True)
class LateFusionConfig:
    """A preset's `small` or `large` section.

    Attributes:
        language: Sizes of the language encoder, see DecoderConfig.
        width, layers, heads: Of vision tokens and fusion.
    """

    language: dict[str, Any]
    width: int
    layers: int
    heads: int


class Features(NamedTuple):
    """Of one modality.

    Attributes:
        keys_values: (2,B,H,N,E) per layer of the fusion.
        valid: bool (B,N).
    """

    keys_values: tuple[Tensor, ...]
    valid: Tensor


class LateFusion(nn.Module):
    """A whole chunk in one pass."""

    def __init__(self, config: LateFusionConfig, sizes: Sizes) -> None:
        super().__init__()
        width, language = config.width, parse(DecoderConfig, config.language, "language")
        self.word = nn.Linear(sizes.text, language.width)
        self.language = Decoder(language)
        self.language_out = nn.Linear(language.width, width)
        self.see = SightTokens(SightTokensConfig(text=False), sizes, width)
        self.norm_told, self.norm_seen = nn.LayerNorm(width), nn.LayerNorm(width)
        self.step = learned(1, sizes.horizon, width)
        self.blocks = nn.ModuleList(DecoderBlock(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, sizes.action_width)
        self._told: tuple[Tensor, Tensor, Features] | None = None

    def train(self, mode: bool = True) -> LateFusion:
        """As nn.Module; forgets the instruction, since weights change."""
        self._told = None
        super().train(mode)
        return self

    def forward(self, sight: Sight) -> Tensor:
        """The chunk (B,T,D), normalised."""
        told, seen = self.read(sight), self.look(sight)
        mask = torch.cat([told.valid, seen.valid], 1)[:, None, None]
        x = self.step.expand(len(sight.state), -1, -1)
        for i, block in enumerate(self.blocks):
            x = block(x, torch.cat([told.keys_values[i], seen.keys_values[i]], 3), mask)
        out: Tensor = self.out(self.norm(x))
        return out

    def look(self, sight: Sight) -> Features:
        """Of what is seen, and of the robot's state, whatever is asked."""
        tokens, valid = self.see(sight)
        return self._features(self.norm_seen(tokens), valid)

    def read(self, sight: Sight) -> Features:
        """Of the instruction; once per instruction as long as no gradient is wanted."""
        text, valid = sight.text, sight.text_mask
        if torch.is_grad_enabled():
            return self._encode(text, valid)
        told = self._told
        if told is None or not (_same(told[0], text) and _same(told[1], valid)):
            told = self._told = text, valid, self._encode(text, valid)
        return told[2]

    def _encode(self, text: Tensor, valid: Tensor) -> Features:
        positions = torch.arange(text.shape[1], device=text.device)[None]
        hidden, _ = self.language(self.word(text), positions, valid[:, None, None])
        return self._features(self.norm_told(self.language_out(hidden)), valid)

    def _features(self, tokens: Tensor, valid: Tensor) -> Features:
        kept = tuple(block.attend_cross.keys_values(tokens) for block in self.blocks)  # type: ignore[union-attr, operator]
        return Features(kept, valid)


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.device == b.device and torch.equal(a, b))
