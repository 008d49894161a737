"""One vector per observation, for heads that a vector conditions: a readout token attends to all that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.attention import learned
from vla_policy.core.blocks.decoder import Decoder, DecoderConfig
from vla_policy.core.blocks.sight_tokens import SightTokens, SightTokensConfig
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes


@dataclass(frozen=True, slots=True)
class ObservationEncoderConfig:
    """A preset's `observation` section.

    Attributes:
        tokens: Options of SightTokens.
        decoder: Sizes of the transformer that mixes them, in both directions.
        features: Width of the vector.
    """

    tokens: dict[str, Any]
    decoder: dict[str, Any]
    features: int


class ObservationEncoder(nn.Module):
    """A Sight to (B,features)."""

    def __init__(self, config: ObservationEncoderConfig, sizes: Sizes) -> None:
        super().__init__()
        self.features = config.features
        decoder = parse(DecoderConfig, config.decoder, "model: observation: decoder")
        self.see = SightTokens(
            parse(SightTokensConfig, config.tokens, "model: observation: tokens"), sizes, decoder.width
        )
        self.mix = Decoder(decoder)
        self.readout = learned(1, 1, decoder.width)
        self.out = nn.Linear(decoder.width, config.features)

    def forward(self, sight: Sight) -> Tensor:
        """See the class."""
        tokens, valid = self.see(sight)
        tokens = torch.cat([self.readout.expand(len(tokens), -1, -1), tokens], 1)
        valid = torch.cat([valid.new_ones(len(valid), 1), valid], 1)
        hidden, _ = self.mix(tokens, torch.arange(tokens.shape[1], device=tokens.device)[None], valid[:, None, None])
        out: Tensor = self.out(hidden[:, 0])
        return out
