"""Discrete diffusion of action tokens: all are masked at first and filled in over a few rounds, the sure ones first.

Liang et al. 2025, "Discrete Diffusion VLA", sections 3.2 to 3.5; the cosine schedule is that of Chang et al. 2022,
MaskGIT, section 3.3. Each round is one evaluation of the model, which sees all tokens and predicts all of them:

    adaptive order          of the masked tokens, those with the highest confidence are kept;
    secondary re-masking    a kept token is masked again, to be drawn anew, where its confidence has fallen below a
                            threshold that rises over the rounds, or by more than a limit since it was kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vla_core.errors import ConfigError, PolicyError, UnknownNameError

#: Logits (B,L,V) of all tokens (B,L), some of them masked.
Predict = Callable[[Tensor], Tensor]

CONFIDENCES = ("probability", "gap")


@dataclass(frozen=True, slots=True)
class MaskedDenoisingConfig:
    """How tokens are drawn.

    Attributes:
        rounds: Evaluations of the model; 12 in the paper.
        temperature: Of the first round's draw; falls linearly towards 0 after the last. 0: the likeliest tokens.
        confidence: 'probability' of a token, or its 'gap' to the best other one.
        threshold: Confidence below which a kept token is masked again, in the last round; rises linearly from 0. With
            many bins a sure value is spread over several, so a threshold must be far below 1.
        largest_drop: Loss of confidence since a token was kept, from which it is masked again. 1: none.
    """

    rounds: int
    temperature: float
    confidence: str
    threshold: float
    largest_drop: float

    def check(self) -> MaskedDenoisingConfig:
        """Return self.

        Raises:
            ConfigError: unknown confidence, no rounds, or a negative temperature.
        """
        if self.confidence not in CONFIDENCES:
            raise UnknownNameError("confidence", self.confidence, CONFIDENCES)
        if self.rounds < 1 or self.temperature < 0:
            got = f"{self.rounds} rounds at temperature {self.temperature}"
            raise ConfigError(got, "at least one round, temperature >= 0", "mend the preset")
        return self


class Denoised(NamedTuple):
    """Drawn tokens, and how it went.

    Attributes:
        tokens: int64 (B,L), none masked.
        evaluations: Calls of the model.
        kept_in: int64 (B,L) round, from 1, in which each token was kept for good; 0: given.
        remasked: int64 (B,) how often a token was masked again.
    """

    tokens: Tensor
    evaluations: int
    kept_in: Tensor
    remasked: Tensor


def masked_after(progress: float) -> float:
    """Share of tokens that are still masked at 0..1 of the rounds: cos(pi/2 progress), 1 to 0."""
    return max(0.0, math.cos(math.pi / 2 * progress)) if progress < 1 else 0.0


def corrupt(
    tokens: Tensor, mask_id: int, generator: torch.Generator | None = None, wrong: float = 0.0, values: int = 0
) -> tuple[Tensor, Tensor]:
    """One training example per row: tokens (B,L) in part masked, and which of them the loss is on, bool (B,L).

    The share masked is `masked_after` a uniform progress, so the model meets every stage of decoding; at least one
    token is. The loss is the cross entropy at these tokens.

    Args:
        tokens: int64 (B,L).
        mask_id: What a masked token becomes.
        generator: For all that is drawn.
        wrong: Share of the others that are replaced by a random value and are on the loss too, as are as many that are
            not replaced (Devlin et al. 2019, BERT, section 3.1): it teaches to doubt a token that was kept. 0 in the
            paper.
        values: How many values a token can have, where `wrong` > 0.

    Raises:
        ConfigError: `wrong` is no share up to a half, or there are no values to draw.
    """
    if not 0 <= wrong <= 0.5 or (wrong > 0 and values < 1):
        got = f"wrong tokens {wrong}, of {values} values"
        raise ConfigError(got, "a share 0..0.5, and values to draw from", "mend the preset's `training`")

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=tokens.device)

    rows, length = tokens.shape
    count = (torch.cos(math.pi / 2 * uniform(rows, 1)) * length).ceil().clamp(1, length)
    masked = uniform(rows, length).argsort(1).argsort(1) < count
    lot = uniform(rows, length)
    replaced, kept = ~masked & (lot < wrong), ~masked & (lot >= 1 - wrong)
    other = (uniform(rows, length) * values).long()
    seen = torch.where(replaced, other, tokens).masked_fill(masked, mask_id)
    return seen, masked | replaced | kept


@torch.no_grad()
def denoise(
    predict: Predict,
    start: Tensor,
    mask_id: int,
    config: MaskedDenoisingConfig,
    generator: torch.Generator | None = None,
) -> Denoised:
    """Fill in the masked tokens.

    Args:
        predict: The model; its logits for `mask_id`, if there are any, count for nothing.
        start: int64 (B,L): `mask_id` where a token shall be drawn. Others are given: they are believed, until
            re-masking finds that they don't fit.
        mask_id: Id of the mask.
        config: How.
        generator: For the draw.

    Raises:
        ConfigError: a configuration that can't be followed.
        PolicyError: logits that are NaN.
    """
    config.check()
    tokens, length = start.clone(), start.shape[1]
    masked = tokens == mask_id
    reference = torch.zeros(start.shape, device=start.device)
    kept_in, remasked = torch.zeros_like(start), torch.zeros_like(start[:, 0])
    evaluations = 0
    for i in range(1, config.rounds + 1):
        progress = i / config.rounds
        logits, probability = _posterior(predict, tokens, mask_id)
        evaluations += 1
        now = _confidence(probability, tokens.where(~masked, 0), config.confidence)
        if i == 1:  # given tokens are measured against what is first thought of them
            reference = now
        doubted = (now < config.threshold * progress) | (reference - now > config.largest_drop)
        again = doubted & ~masked
        if i == config.rounds:
            again = torch.zeros_like(masked)  # what would be masked now could not be drawn any more
        remasked += again.sum(1)
        drawn = _draw(logits, config.temperature * (1 - (i - 1) / config.rounds), generator)
        confidence = _confidence(probability, drawn, config.confidence).masked_fill(~masked, -torch.inf)
        # A token that is doubted now was seen by the model, so what to put in its place is asked in a later round.
        count = (~(masked | again)).sum(1)
        due = length - math.floor(length * masked_after(progress)) - count
        due = due.clamp(min=1).minimum(masked.sum(1))
        chosen = confidence.argsort(1, descending=True).argsort(1) < due[:, None]
        tokens = torch.where(chosen, drawn, tokens.masked_fill(again, mask_id))
        reference = torch.where(chosen, confidence, reference)
        kept_in = torch.where(chosen, i, kept_in.masked_fill(again, 0))
        masked = (masked | again) & ~chosen
    return Denoised(tokens, evaluations, kept_in, remasked)


def _posterior(predict: Predict, tokens: Tensor, mask_id: int) -> tuple[Tensor, Tensor]:
    """Logits and probabilities (B,L,V) of the values of every token."""
    logits = predict(tokens).float()
    if mask_id < logits.shape[-1]:
        logits = logits.index_fill(-1, torch.tensor(mask_id, device=logits.device), -torch.inf)
    probability = torch.softmax(logits, -1)
    if bool(probability.isnan().any()):
        raise PolicyError("NaN for action tokens", "probabilities", "train again, or fetch the weights again")
    return logits, probability


def _draw(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """One token per place (B,L) from softmax(logits / temperature), by the Gumbel-max trick."""
    if temperature > 0:
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device).clamp(1e-20)
        logits = logits - temperature * (-uniform.log()).log()
    return logits.argmax(-1)


def _confidence(probability: Tensor, tokens: Tensor, kind: str) -> Tensor:
    own = probability.gather(-1, tokens[..., None])
    if kind == "probability":
        return own[..., 0]
    best_other = probability.scatter(-1, tokens[..., None], 0.0).amax(-1)
    return own[..., 0] - best_other
