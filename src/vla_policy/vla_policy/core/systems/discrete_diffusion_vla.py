"""Discrete Diffusion VLA (Liang et al. 2025): a chunk of binned actions, unmasked over a few rounds by the backbone.

Action tokens are words of the backbone's vocabulary that stand for bins, and one that stands for "masked". They see the
prefix, and each other in both directions. In training some are masked and the cross entropy is on these; a chunk is
drawn from all masked tokens, the sure ones first, and kept tokens that turn out doubtful are masked again
(core/masked_denoising.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.knot_bins import KnotBins
from vla_policy.core.blocks.knots import Knots
from vla_policy.core.blocks.parallel_actions import ParallelActions
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.masked_denoising import MaskedDenoisingConfig, corrupt, denoise
from vla_policy.core.objectives import masked_mean
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System
from vla_policy.core.tokenizers.vocabulary_slots import VocabularySlots


@dataclass(frozen=True, slots=True)
class DiscreteDiffusionConfig:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        backbone: See blocks/backbones.py; the last bins + 1 tokens of its vocabulary become action tokens.
        knots: Steps of the chunk that have tokens, D each; the others lie between them (blocks/knots.py).
        bins: Per value, between the 1st and 99th percentile.
        wrong: Share of visible tokens that training replaces by wrong ones, so that a kept token can be doubted; 0 in
            the paper, see `masked_denoising.corrupt`.
        denoising: See MaskedDenoisingConfig.
    """

    backbone: dict[str, Any]
    knots: tuple[int, ...]
    bins: int
    wrong: float
    denoising: dict[str, Any]


class DiscreteDiffusionVla(System):
    """See the module. Static where nothing is drawn by lot."""

    static = True

    def __init__(self, config: DiscreteDiffusionConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config = config
        self.denoising = parse(MaskedDenoisingConfig, config.denoising, "decoding: denoising").check()
        self.backbone = make_backbone(config.backbone, sizes)
        width = self.backbone.decoder_config.width
        knots = Knots(config.knots, sizes.horizon)
        self.bins = KnotBins(knots, sizes.action_width, "quantile", config.bins)
        self.actions = ParallelActions(len(knots.steps), sizes.action_width, width)
        self.slots = VocabularySlots.overwritten(self.backbone.embedding.num_embeddings, config.bins + 1)

    @property
    def recordable(self) -> bool:
        """See System."""
        return super().recordable and self.denoising.temperature == 0

    @property
    def mask(self) -> int:
        """Code of a masked token; those below are bins."""
        return self.config.bins

    def logits(self, read: Read, codes: Tensor) -> Tensor:
        """Of all bins (B,K*D,bins) for every token; codes int64 (B,K*D), bins or the mask."""
        hidden = self.actions(self.backbone, read, self.backbone.embedding(self.slots.tokens(codes)))
        words = self.slots.tokens(torch.arange(self.config.bins, device=codes.device))
        return F.linear(hidden, self.backbone.speak.weight[words])

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Cross entropy of what is masked."""
        codes = self.bins.encode(self.physical(labels.chunk))
        seen, asked = corrupt(codes, self.mask, wrong=self.config.wrong, values=self.config.bins)
        logits = self.logits(self.backbone.read(sight), seen)
        loss = F.cross_entropy(logits.transpose(1, 2), codes, reduction="none")
        return {"masked": masked_mean(loss, asked & self.bins.known(labels.known))}

    @torch.no_grad()
    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """From all masked; noise decides by lot where the temperature isn't 0."""
        read = self.backbone.read(sight)
        start = torch.full((len(noise), self.bins.tokens), self.mask, device=noise.device)
        lot = None
        if self.denoising.temperature > 0:
            lot = torch.Generator(noise.device).manual_seed(int(noise.flatten()[0].view(torch.int32)))
        drawn = denoise(lambda codes: self.logits(read, codes), start, self.mask, self.denoising, lot)
        return Drawn(self.normalised(self.bins.decode(drawn.tokens)), drawn.evaluations)


@SYSTEMS.register("discrete_diffusion_vla")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> DiscreteDiffusionVla:
    return DiscreteDiffusionVla(parse(DiscreteDiffusionConfig, {**model, **decoding}, "preset"), sizes)
