"""What chunk networks learn by, each a mean over the steps that are labelled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vla_policy.core import flow
from vla_policy.core.diffusion import Diffusion, Predict

#: Noisy actions (B,T,D) and flow times (B,T) to velocities (B,T,D).
VelocityOf = Callable[[Tensor, Tensor], Tensor]

#: So many flow times (B,) on a device.
SampleTime = Callable[[int, torch.device], Tensor]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values where mask is 1; 0 where nothing is labelled."""
    mask = mask.to(values.dtype)
    return (values * mask).sum() / mask.sum().clamp(min=1.0)


def flow_matching(
    velocity: VelocityOf, chunk: Tensor, known: Tensor, prefix_steps: int = 0, sample: SampleTime = flow.sample_time
) -> Tensor:
    """Squared error of the velocity on straight paths (Lipman et al. 2023; Black et al. 2024, pi0, equation 1).

    Args:
        velocity: Of B rows.
        chunk: (B,T,D) normalised.
        known: (B,T) bool, steps with a label.
        prefix_steps: Most steps that are given clean instead of drawn (training-time RTC, Black et al. 2025).
        sample: Draws the flow times.
    """
    given = flow.sample_prefix(len(chunk), chunk.shape[1], prefix_steps, chunk.device)
    time = torch.where(given, 1.0, sample(len(chunk), chunk.device)[:, None])
    point, wanted = flow.path(chunk, torch.randn_like(chunk), time)
    return masked_mean((velocity(point, time) - wanted).square().mean(-1), ~given & known)


def l1(predicted: Tensor, chunk: Tensor, known: Tensor) -> Tensor:
    """Mean absolute error of chunks (B,T,D) (Zhao et al. 2023, ACT; Kim et al. 2025, OpenVLA-OFT)."""
    return masked_mean((predicted - chunk).abs().mean(-1), known)


def denoising(diffusion: Diffusion, predict: Predict, chunk: Tensor, known: Tensor) -> Tensor:
    """Squared error of what is predicted of a noisy chunk (Ho et al. 2020, DDPM, equation 14).

    Args:
        diffusion: The process.
        predict: Of B rows.
        chunk: (B,T,D) normalised.
        known: (B,T) bool, steps with a label.
    """
    time, noise = diffusion.sample_time(len(chunk), chunk.device), torch.randn_like(chunk)
    predicted = predict(diffusion.q_sample(chunk, noise, time), time)
    return masked_mean((predicted - diffusion.target(chunk, noise, time)).square().mean(-1), known)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of normal distributions (B,Z), summed over Z, mean over B (Kingma & Welling 2014, appendix B).

    In float32, whatever comes: near the standard normal it is the small difference of large terms.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(-1).mean()
