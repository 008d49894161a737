"""From noise to a chunk, in the way that the running strategy asks for."""

from __future__ import annotations

import torch
from torch import Tensor

from vla_core import strategies
from vla_core.strategies import BID
from vla_policy.core import flow
from vla_policy.core.drawing import bidirectional, rtc_guided, rtc_prefix
from vla_policy.core.drawing.continuation import Continuation
from vla_policy.core.drawing.field import Field


def samples_needed(continuation: Continuation | None) -> int:
    """How many rows of noise `draw` wants."""
    several = continuation is not None and continuation.strategy == BID
    return bidirectional.SAMPLES + bidirectional.WEAK_SAMPLES if several else 1


def draw(
    field: Field, noise: Tensor, steps: int, continuation: Continuation | None, mean: Tensor, std: Tensor
) -> Tensor:
    """A chunk (1,T,D) in physical units.

    Args:
        field: Velocity of normalised actions.
        noise: (N,T,D), N = samples_needed(continuation).
        steps: Euler steps.
        continuation: What to agree with, None: nothing.
        mean, std: (T,D) of the normalisation.
    """
    if continuation is None:
        return flow.integrate(field.fast, noise, steps) * std + mean
    given = torch.from_numpy(continuation.actions).to(noise.device)
    target = ((given - mean[: len(given)]) / std[: len(given)])[None]
    match continuation.strategy:
        case strategies.RTC_GUIDED:
            drawn = rtc_guided.draw(field, noise, steps, target, continuation.delay_steps)
        case strategies.BID:
            drawn = bidirectional.draw(field, noise, steps, target)
        case _:
            drawn = rtc_prefix.draw(field, noise, steps, target, continuation.delay_steps)
    return drawn * std + mean
