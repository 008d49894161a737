"""HybridVLA (Liu et al. 2025): one language model denoises an action and then writes it, and says how sure it is.

Behind what is seen and read stand <BOD>, the diffusion time i, the noisy action a^i, <EOD>, and the action as tokens,
all in one sequence of one model. The state of a^i's own token gives the noise, so that written tokens can't leak into
it. Both are learnt together, L = L_diffusion + L_cross-entropy. An action is first denoised in a few DDIM steps, then
written behind the denoised one; with c = the mean over its tokens of the probability of the likeliest one, what is
carried out is the mean of both where c > 0.96, else the denoised one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.attention import mlp
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.code_writer import check_room, next_code_loss
from vla_policy.core.blocks.decoder import repeated
from vla_policy.core.blocks.knot_words import KnotWords, KnotWordsConfig
from vla_policy.core.blocks.sinusoid import sinusoid
from vla_policy.core.blocks.vlm import Read
from vla_policy.core.diffusion import Diffusion, DiffusionConfig
from vla_policy.core.objectives import masked_mean
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System
from vla_policy.core.tokenizers.vocabulary_slots import VocabularySlots

_BOD, _EOD = 0, 1


@dataclass(frozen=True, slots=True)
class HybridVlaConfig:
    """A preset's `model: system` and `decoding` sections.

    Attributes:
        backbone: See blocks/backbones.py. actions: See KnotWordsConfig; bins between the 1st and 99th percentile.
        diffusion: See DiffusionConfig; 100 steps, squared cosine, epsilon in the authors' code. Predicting the sample
            instead is the same process, and learnt in far fewer steps by a small network.
        samples: Noise samples per row and training step; 4 in the authors' code.
        steps: DDIM steps; 4 in the paper.
        confidence: Above it written actions count; 0.96 in the paper.
    """

    backbone: dict[str, Any]
    actions: dict[str, Any]
    diffusion: dict[str, Any]
    samples: int
    steps: int
    confidence: float = 0.96


def collaborate(denoised: Tensor, written: Tensor, confidence: Tensor, threshold: float) -> Tensor:
    """Chunks (B,T,D): the mean of both where confidence (B,) > threshold, else the denoised one."""
    sure = (confidence > threshold)[:, None, None]
    return torch.where(sure, (denoised + written) / 2, denoised)


class HybridVla(System):
    """See the module."""

    def __init__(self, config: HybridVlaConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config = config
        self.backbone = make_backbone(config.backbone, sizes)
        width, size = self.backbone.decoder_config.width, self.backbone.embedding.num_embeddings
        actions = parse(KnotWordsConfig, config.actions, "model: actions")
        self.actions = KnotWords(actions, "quantile", sizes, size)
        self.markers = VocabularySlots.overwritten(size, 2, actions.skip + actions.bins)
        self.diffusion = Diffusion(parse(DiffusionConfig, config.diffusion, "model: diffusion"))
        self.time = mlp(width, width, width)
        self.noisy = mlp(sizes.action_width, width, width)
        self.noise_out = mlp(width, width, sizes.action_width)
        last = self.noise_out[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def fit(self, data: Fitting) -> None:
        """See System.

        Raises:
            ConfigError: words would stand where actions stand.
        """
        super().fit(data)
        check_room(self.backbone, self.markers)

    def scaled(self, chunk: Tensor) -> Tensor:
        """Knots (B,K,D) of chunks in physical units, -1..1 between the bins' bounds; what lies outside is clipped."""
        middle, half = self._scale(chunk)
        return ((self.actions.bins.knots.encode(chunk) - middle) / half).clamp(-1, 1)

    def unscaled(self, knots: Tensor) -> Tensor:
        """Chunks (B,T,D) in physical units through knots (B,K,D) that `scaled` made."""
        middle, half = self._scale(knots)
        return self.actions.bins.knots.decode(knots.clamp(-1, 1) * half + middle)

    def between(self, noisy: Tensor, time: Tensor) -> Tensor:
        """Embedded <BOD>, time, noisy knots, <EOD> (B,K+3,C) of knots (B,K,D) at times int64 (B,)."""
        marks = self.backbone.embedding(self.markers.tokens(torch.tensor([_BOD, _EOD], device=noisy.device)))
        begin, end = (mark.expand(len(noisy), 1, -1) for mark in marks)
        moment = self.time(sinusoid(time.float(), begin.shape[-1]))[:, None]
        return torch.cat([begin, moment, self.noisy(noisy), end], 1)

    def predicted(self, hidden: Tensor) -> Tensor:
        """Noise (B,K,D), or what else `diffusion` predicts, from states (B,>=K+3,C) of `between` and what follows."""
        out: Tensor = self.noise_out(hidden[:, 2 : 2 + len(self.actions.bins.knots.steps)])
        return out

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Noise and next tokens in one pass; several noise samples share one prefix."""
        backbone, actions, times = self.backbone, self.actions, self.config.samples
        read, chunk = _repeated(backbone.read(sight), times), self.physical(labels.chunk)
        known = actions.bins.knots.encode(labels.known).repeat(times, 1)
        codes = actions.encode(chunk, labels.known).repeat(times, 1)
        data = self.scaled(chunk).repeat(times, 1, 1)
        time, noise = self.diffusion.sample_time(len(data), data.device), torch.randn_like(data)
        begin = self.between(self.diffusion.q_sample(data, noise, time), time)
        said = backbone.embedding(actions.slots.tokens(codes[:, :-1].clamp(min=0)))
        hidden, _ = backbone.extend(read, torch.cat([begin, said], 1))
        error = self.predicted(hidden) - self.diffusion.target(data, noise, time)
        return {
            "diffusion": masked_mean(error.square().mean(-1), known),
            "action": next_code_loss(backbone, actions.slots, hidden[:, begin.shape[1] - 1 :], codes),
        }

    @torch.no_grad()
    def both(self, sight: Sight, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The denoised chunk, the written chunk, (B,T,D) in physical units, and the confidence (B,) in the latter."""
        backbone, knots = self.backbone, self.actions.bins.knots
        read = backbone.read(sight)

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            return self.predicted(backbone.extend(read, self.between(noisy, time))[0])

        denoised = self.diffusion.sample(predict, knots.encode(noise), self.config.steps)
        clean = torch.zeros(len(noise), dtype=torch.long, device=noise.device)
        written = self.actions.write(backbone, read, self.between(denoised, clean))
        return self.unscaled(denoised), self.actions.decode(written.codes), written.confidence.mean(1)

    @torch.no_grad()
    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """Denoise, write, and put both together where the writing is sure."""
        chunk = collaborate(*self.both(sight, noise), self.config.confidence)
        return Drawn(self.normalised(chunk), self.config.steps + self.actions.bins.tokens)

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Middle and half width (K,D) of the bins' bounds; a value that stands still has any width."""
        bins, shape = self.actions.bins.bins, (len(self.actions.bins.knots.steps), -1)
        low, high = (torch.tensor(bound, dtype=like.dtype, device=like.device) for bound in (bins.low, bins.high))
        half = (high - low) / 2
        return ((low + high) / 2).view(shape), half.where(half > 0, 1.0).view(shape)


def _repeated(read: Read, times: int) -> Read:
    return Read(read.hidden.repeat(times, 1, 1), read.valid.repeat(times, 1), repeated(read.cache, times))


@SYSTEMS.register("hybridvla")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> HybridVla:
    return HybridVla(parse(HybridVlaConfig, {**model, **decoding}, "preset"), sizes)
