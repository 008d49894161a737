"""Real-time chunking by training (Black et al., "Training-Time Action Conditioning for Efficient Real-Time Chunking",
2025, arXiv:2512.05964): the steps that will have been executed are given at flow time 1, and the field was trained to
continue them.

    x_i = a_i, t_i = 1 for i < d;   dx_i/dt = v(x, t) for i >= d

Costs nothing at inference; `flow.sample_prefix` is the other half, in training.
"""

from __future__ import annotations

from torch import Tensor

from vla_policy.core import flow
from vla_policy.core.drawing.field import Field


def draw(field: Field, noise: Tensor, steps: int, target: Tensor, delay: int) -> Tensor:
    """A chunk (1,T,D) that begins with the first `delay` steps of `target`, all normalised.

    Args:
        field: Velocity, trained with prefixes.
        noise: (1,T,D).
        steps: Euler steps.
        target: (1,P,D) where the running motion leads at steps 0..P-1.
        delay: Steps that will have been executed, <= P.
    """
    return flow.integrate(field.fast, noise, steps, target[:, :delay])
