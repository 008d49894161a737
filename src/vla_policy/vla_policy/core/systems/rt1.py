"""RT-1 (Brohan et al. 2022): FiLM-conditioned convolutions, TokenLearner, a causal transformer over six images, bins.

Every image becomes a few tokens: the sentence scales and shifts the channels of the convolutions (identity at first),
TokenLearner takes 8 means of the map that comes out. The transformer sees the tokens of the last frames, nothing of the
arm, and answers with one bin per action dimension, all in one pass: a dimension's query sees the images up to its frame
and no other dimension (the paper dropped autoregression, which was twice as slow and no better, section 6.4). Where a
contract has a mode among its dimensions, the arm, the base, or the end of the task is one more bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import PolicyError
from vla_policy.core.blocks.attention import learned
from vla_policy.core.blocks.decoder import Decoder, DecoderConfig
from vla_policy.core.blocks.film_encoder import FilmEncoder, FilmEncoderConfig
from vla_policy.core.blocks.knot_bins import KnotBins
from vla_policy.core.blocks.knots import Knots
from vla_policy.core.blocks.token_learner import TokenLearner
from vla_policy.core.objectives import masked_mean
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System


@dataclass(frozen=True, slots=True)
class Rt1Config:
    """A preset's `model: system` section.

    Attributes:
        encoder: See FilmEncoderConfig. decoder: See DecoderConfig.
        frames: Images that one answer looks at; 6 in the paper.
        tokens: Per frame, out of TokenLearner; 8 in the paper.
        bins: Per dimension, between the extremes of the training data; 256 in the paper.
        knot: Step of the chunk that is answered.
        whole: Columns that hold whole numbers, such as a mode: only their bins are drawn.
    """

    encoder: dict[str, Any]
    decoder: dict[str, Any]
    frames: int
    tokens: int
    bins: int
    knot: int
    whole: tuple[int, ...] = ()


class Rt1(System):
    """See the module."""

    static = True
    needs = frozenset({"fine"})

    def __init__(self, config: Rt1Config, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config, self.history = config, config.frames
        encoder = parse(FilmEncoderConfig, config.encoder, "model: encoder")
        decoder = parse(DecoderConfig, config.decoder, "model: decoder")
        cells, width = encoder.widths[-1], decoder.width
        self.encoder = FilmEncoder(encoder, sizes.views, sizes.features, sizes.sentence)
        self.learner = TokenLearner(cells, config.tokens, cells)
        self.image = nn.Linear(cells, width)
        self.place = learned(config.tokens, width)
        self.query = learned(sizes.action_width, width)
        self.decoder = Decoder(decoder)
        self.speak = nn.Linear(width, config.bins)
        self.bins = KnotBins(Knots((config.knot,), sizes.horizon), sizes.action_width, "uniform", config.bins)

    def tokens(self, sight: Sight) -> Tensor:
        """Image tokens (N,8,width) of N frames; each depends on its own image and sentence only.

        Raises:
            PolicyError: the sight has no feature maps.
        """
        if sight.fine is None:
            raise PolicyError("a sight without feature maps", "Sight.fine", "let the eyes keep what `needs` names")
        tokens: Tensor = self.image(self.learner(self.encoder(sight.fine, sight.sentence)))
        return tokens + self.place

    def answer(self, tokens: Tensor) -> Tensor:
        """Image tokens (N,8,width), each past before its present, to logits (N,D,bins)."""
        frames, images, width = self.config.frames, self.config.tokens, tokens.shape[-1]
        query = self.query.expand(len(tokens), -1, -1)
        sequence = torch.cat([tokens, query], 1).reshape(len(tokens) // frames, -1, width)
        count = sequence.shape[1]
        place = torch.arange(count, device=tokens.device)
        seen = place % (images + len(self.query)) < images  # nobody but itself sees a query
        mask = ((place[:, None] >= place) & seen) | (place[:, None] == place)
        hidden, _ = self.decoder(sequence, place[None], mask)
        logits: Tensor = self.speak(hidden.reshape(len(tokens), -1, width)[:, images:])
        return logits

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Cross entropy of every frame's bins, whatever its place in the history."""
        codes = self.bins.encode(self.physical(labels.chunk))
        logits = self.answer(self.tokens(sight))
        loss = F.cross_entropy(logits.transpose(1, 2), codes, reduction="none")
        return {"bins": masked_mean(loss, self.bins.known(labels.known))}

    @torch.no_grad()
    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """The likeliest bins of the newest frames; the noise has no influence."""
        logits = self.answer(self.tokens(sight))[self.config.frames - 1 :: self.config.frames]
        allowed = self.bins.whole(self.config.whole).to(logits.device)
        codes = logits.masked_fill(~allowed, -torch.inf).argmax(-1)
        return Drawn(self.normalised(self.bins.decode(codes)), 1)


@SYSTEMS.register("rt1")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> Rt1:
    return Rt1(parse(Rt1Config, {**model, **decoding}, "preset"), sizes)
