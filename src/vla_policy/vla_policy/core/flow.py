"""Flow matching on straight paths (Lipman et al. 2023; Black et al. 2024, pi0): x_t = (1-t) noise + t data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sample_time(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Flow times (count,), denser near noise: t = 0.999 (1 - u), u ~ Beta(1.5, 1) (pi0, appendix B)."""
    uniform = torch.rand(count, device=device)
    return 0.999 * (1.0 - uniform ** (1.0 / 1.5))


def path(data: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Point on the straight path at `time` (B,) and its velocity, both shaped as data (B,T,D)."""
    t = time[:, None, None]
    return (1 - t) * noise + t * data, data - noise


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Euler steps from noise (t=0) to data (t=1); exact where the field is that of one straight path."""
    x = noise
    for i in range(steps):
        time = torch.full((noise.shape[0],), i / steps, device=noise.device, dtype=noise.dtype)
        x = x + velocity(x, time) / steps
    return x
