"""Real-time chunking by guidance (Black, Galliker, Levine, "Real-Time Execution of Action Chunking Flow Policies",
2025, arXiv:2506.07339, equations 2 to 5 and algorithm 1).

    v_g(x, t) = v + min(beta, (1-t) / (t r^2)) (Y - x1)^T diag(W) dx1/dx
    x1 = x + (1-t) v,   r^2 = (1-t)^2 / (t^2 + (1-t)^2)

Y is the running motion, W a soft mask: 1 for the steps that will have been executed, then falling to 0 at its end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vla_policy.core.drawing.field import Field

#: Fewest Euler steps. beta, without which few steps diverge, is their number, as in the paper (5 and 5): the weight is
#: then cut for the first step only. With 8 steps a policy that disagrees keeps a quarter of its way.
STEPS = 16


def soft_mask(horizon: int, delay: int, overlap: int) -> Tensor:
    """Weights (horizon,): 1 for i < delay, c (e^c - 1)/(e - 1) with c from 1 to 0 up to `overlap`, then 0."""
    weights = torch.zeros(horizon)
    weights[:delay] = 1.0
    for i in range(delay, min(overlap, horizon)):
        c = (overlap - i) / (overlap - delay + 1)
        weights[i] = c * (math.exp(c) - 1.0) / (math.e - 1.0)
    return weights


def draw(field: Field, noise: Tensor, steps: int, target: Tensor, delay: int) -> Tensor:
    """A chunk (1,T,D) that agrees with `target` as far as its weights ask, all normalised.

    Args:
        field: Velocity.
        noise: (1,T,D).
        steps: Euler steps, at least STEPS are made.
        target: (1,P,D) where the running motion leads at steps 0..P-1.
        delay: Steps that will have been executed, <= P.
    """
    overlap, x, steps = target.shape[1], noise, max(steps, STEPS)
    weights = soft_mask(noise.shape[1], delay, overlap)[:overlap, None].to(noise)
    for i in range(steps):
        time, rest = i / steps, 1.0 - i / steps

        def error(velocity: Tensor, x: Tensor = x, rest: float = rest) -> Tensor:
            estimate = x + rest * velocity
            out = torch.zeros_like(x)
            out[:, :overlap] = weights * (target - estimate[:, :overlap])
            return out

        times = noise.new_full(noise.shape[:2], time)
        velocity, pulled = field.pull_back(x, times, error)
        guidance = error(velocity) + rest * pulled  # dx1/dx = 1 + (1-t) dv/dx
        scale = float(steps) if time == 0.0 else min(steps, (time**2 + rest**2) / (time * rest))
        x = x + (velocity + scale * guidance) / steps
    return x
