"""ACT (Zhao et al. 2023, "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware"): chunks by a CVAE.

While training, an encoder reads the demonstrated chunk and the robot's state into a style variable z, so that the
decoder needn't average over the ways in which people do a thing; afterwards the encoder is dropped and z is 0, the mean
of its prior (section IV-B, figure 4). The decoder is a transformer: an encoder over observation and z, then one query
per step of the chunk. Loss, algorithm 1: L1 of the chunk, plus beta times the divergence of z from its prior; beta is
10.

Numbers per step and steps are the contract's: 7 of one arm, or 14 of two (config/contracts/aloha.yaml). Successive
chunks are averaged by the executor's strategy `temporal_ensemble`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vla_policy.core import objectives
from vla_policy.core.blocks.attention import DecoderBlock, EncoderBlock, learned
from vla_policy.core.blocks.sight_tokens import SightTokens, SightTokensConfig
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System


@dataclass(frozen=True, slots=True)
class ActConfig:
    """A preset's `model: system` and `decoding` sections; in brackets the paper's.

    Attributes:
        tokens: Options of SightTokens.
        width, heads: Of all transformers (512, 8).
        style: Numbers in z (32).
        style_layers, encoder_layers, decoder_layers: Blocks (4, 4, 7).
    """

    tokens: dict[str, Any]
    width: int
    heads: int
    style: int
    style_layers: int
    encoder_layers: int
    decoder_layers: int


class Style(NamedTuple):
    """The posterior of z, (B,Z) each."""

    mean: Tensor
    log_variance: Tensor


class StyleEncoder(nn.Module):
    """A demonstrated chunk and the state it began in to what z may have been; it sees no images, as in the paper."""

    def __init__(self, config: ActConfig, sizes: Sizes) -> None:
        super().__init__()
        width = config.width
        self.readout = learned(1, 1, width)
        self.state, self.action = nn.Linear(sizes.state, width), nn.Linear(sizes.action_width, width)
        self.place = learned(1, 1 + sizes.horizon, width)
        self.blocks = nn.ModuleList(EncoderBlock(width, config.heads) for _ in range(config.style_layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, 2 * config.style)

    def forward(self, state: Tensor, chunk: Tensor, known: Tensor) -> Style:
        """State (B,S), chunk (B,T,D) and which of its steps are known, bool (B,T)."""
        given = torch.cat([self.state(state)[:, None], self.action(chunk)], 1) + self.place
        x = torch.cat([self.readout.expand(len(given), -1, -1), given], 1)
        mask = torch.cat([known.new_ones(len(known), 2), known], 1)[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        return Style(*self.out(self.norm(x[:, 0])).chunk(2, -1))


class Act(System):
    """See the module.

    Attributes:
        style: The encoder that is dropped at inference.
    """

    static = True
    style: StyleEncoder | None

    def __init__(self, config: ActConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config, width = config, config.width
        self.style = StyleEncoder(config, sizes)
        self.style_token = nn.Linear(config.style, width)
        self.see = SightTokens(parse(SightTokensConfig, config.tokens, "model: tokens"), sizes, width)
        self.encoder = nn.ModuleList(EncoderBlock(width, config.heads) for _ in range(config.encoder_layers))
        self.memory_norm = nn.LayerNorm(width)
        self.step = learned(1, sizes.horizon, width)
        self.decoder = nn.ModuleList(DecoderBlock(width, config.heads) for _ in range(config.decoder_layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, sizes.action_width)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """L1 of the chunk under a sampled z, and the divergence of z from its prior."""
        assert self.style is not None, "dropped"
        mean, log_variance = self.style(sight.state, labels.chunk, labels.known)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        chunk = self.decode(sight, z)
        return {
            "l1": objectives.l1(chunk, labels.chunk, labels.known),
            "kl": objectives.kl_to_standard_normal(mean, log_variance),
        }

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """z = 0: the same whatever the noise."""
        return Drawn(self.decode(sight, noise.new_zeros(len(noise), self.config.style)), 1)

    def decode(self, sight: Sight, z: Tensor) -> Tensor:
        """The chunk (B,T,D) in the style z (B,Z)."""
        tokens, valid = self.see(sight)
        x = torch.cat([self.style_token(z)[:, None], tokens], 1)
        mask = torch.cat([valid.new_ones(len(valid), 1), valid], 1)[:, None, None]
        for block in self.encoder:
            x = block(x, mask)
        memory, y = self.memory_norm(x), self.step.expand(len(x), -1, -1)
        for block in self.decoder:
            assert isinstance(block, DecoderBlock)
            y = block(y, block.attend_cross.keys_values(memory), mask)
        out: Tensor = self.out(self.norm(y))
        return out


@SYSTEMS.register("act")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> Act:
    return Act(parse(ActConfig, {**model, **decoding}, "preset"), sizes)
