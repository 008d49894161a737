"""Sines and cosines of a number, as networks are told the step of a diffusion process (Vaswani et al. 2017)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LONGEST = 10_000.0  # period of the slowest wave is 2 pi times this


def sinusoid(step: Tensor, width: int) -> Tensor:
    """Steps (...) to (...,width); width is even."""
    half = width // 2
    frequency = torch.exp(torch.linspace(0.0, -math.log(LONGEST), half, device=step.device))
    phase = step[..., None] * frequency
    return torch.cat([phase.sin(), phase.cos()], -1)
