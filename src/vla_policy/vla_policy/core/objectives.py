"""What chunk networks learn by, each a mean over the steps that are labelled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vla_policy.core import flow

#: Noisy actions (B,T,D) and flow times (B,T) to velocities (B,T,D).
VelocityOf = Callable[[Tensor, Tensor], Tensor]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where mask is 1; 0 where nothing is labelled."""
    mask = mask.to(values.dtype)
    return (values * mask).sum() / mask.sum().clamp(min=1.0)


def flow_matching(velocity: VelocityOf, chunk: Tensor, known: Tensor, prefix_steps: int = 0) -> Tensor:
    """Squared error of the velocity on straight paths (Lipman et al. 2023; Black et al. 2024, pi0, equation 1).

    Args:
        velocity: Of B rows.
        chunk: (B,T,D) normalised.
        known: (B,T) bool, steps with a label.
        prefix_steps: Most steps that are given clean instead of drawn (training-time RTC, Black et al. 2025).
    """
    given = flow.sample_prefix(len(chunk), chunk.shape[1], prefix_steps, chunk.device)
    time = torch.where(given, 1.0, flow.sample_time(len(chunk), chunk.device)[:, None])
    point, wanted = flow.path(chunk, torch.randn_like(chunk), time)
    return masked_mean((velocity(point, time) - wanted).square().mean(-1), ~given & known)


def l1(predicted: Tensor, chunk: Tensor, known: Tensor) -> Tensor:
    """Mean absolute error of chunks (B,T,D) (Zhao et al. 2023, ACT; Kim et al. 2025, OpenVLA-OFT)."""
    return masked_mean((predicted - chunk).abs().mean(-1), known)
