"""Bidirectional decoding (Liu et al., "Bidirectional Decoding: Improving Action Chunking via Guided Test-Time
Sampling", 2024, BID; sections 4.2 and 4.3): of N drawn chunks take the one with the least

    backward:  sum_i rho^i |a_i - running_i|,   over the steps that the running motion has
    forward:   mean distance to what a strong policy draws - mean distance to what a weak one draws

As in the authors' code only the more coherent half of either policy's samples is compared by the forward term; with all
of them the likelier mode would outvote the running one.
The paper's weak policy is an earlier checkpoint. Ours is the same field with a single Euler step, which averages modes
as an early checkpoint does, so no second weight file is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vla_policy.core import flow
from vla_policy.core.drawing.field import Field

SAMPLES = 6
WEAK_SAMPLES = 3
DECAY = 0.7


def draw(field: Field, noise: Tensor, steps: int, target: Tensor) -> Tensor:
    """The most coherent chunk (1,T,D), normalised.

    Args:
        field: Velocity.
        noise: (SAMPLES + WEAK_SAMPLES,T,D).
        steps: Euler steps of a strong sample.
        target: (1,P,D) where the running motion leads at steps 0..P-1.
    """
    strong = torch.cat([flow.integrate(field.fast, n[None], steps) for n in noise[:SAMPLES]])
    weak = torch.cat([flow.integrate(field.fast, n[None], 1) for n in noise[SAMPLES:]])
    strong, weak = (coherent_half(samples, target) for samples in (strong, weak))
    loss = backward_loss(strong, target) + forward_loss(strong, weak)
    return strong[int(loss.argmin())][None]


def coherent_half(samples: Tensor, target: Tensor) -> Tensor:
    """Those of samples (N,T,D) that lie nearest to the running motion (1,P,D): (ceil(N/2),T,D)."""
    return samples[backward_loss(samples, target).argsort()[: (len(samples) + 1) // 2]]


def backward_loss(samples: Tensor, target: Tensor) -> Tensor:
    """(N,) distance of samples (N,T,D) from the running motion (1,P,D), later steps counting less."""
    overlap = target.shape[1]
    weights = DECAY ** torch.arange(overlap, device=samples.device)
    loss: Tensor = ((samples[:, :overlap] - target).norm(dim=-1) * weights).sum(-1) / weights.sum()
    return loss


def forward_loss(strong: Tensor, weak: Tensor) -> Tensor:
    """(N,) mean distance of strong samples (N,T,D) from each other minus that from weak ones (M,T,D)."""

    def distance(others: Tensor) -> Tensor:
        mean: Tensor = (strong[:, None] - others[None]).norm(dim=-1).mean(-1)
        return mean

    among = distance(strong).sum(1) / max(len(strong) - 1, 1)
    return among - distance(weak).mean(1)
