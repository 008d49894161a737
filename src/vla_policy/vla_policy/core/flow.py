"""Flow matching on straight paths (Lipman et al. 2023; Black et al. 2024, pi0): x_t = (1-t) noise + t data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sample_time(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Flow times (count,), denser near noise: t = 0.999 (1 - u), u ~ Beta(1.5, 1) (pi0, appendix B)."""
    uniform = torch.rand(count, device=device)
    return 0.999 * (1.0 - uniform ** (1.0 / 1.5))


def sample_middle_time(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Flow times (count,) ~ Beta(2, 2), within 0.02..0.98 (Lin et al. 2025, Evo-1): the middle one of three uniform."""
    return torch.rand(3, count, device=device).median(0).values.clamp(0.02, 0.98)


def sample_prefix(count: int, horizon: int, longest: int, device: torch.device | str = "cpu") -> Tensor:
    """Which steps are given instead of drawn, bool (count, horizon): the first 1..longest in half of the rows, or none.

    Where the executor will be while the policy thinks is known; training on prefixes teaches to continue it.
    """
    length = (
        torch.randint(1, longest + 1, (count, 1), device=device) if longest else torch.zeros(count, 1, device=device)
    )
    length = length * (torch.rand(count, 1, device=device) < 0.5)
    return torch.arange(horizon, device=device) < length


def path(data: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Point on the straight path at `time` (B,) or (B,T) and its velocity, both shaped as data (B,T,D)."""
    t = (time[:, None] if time.dim() == 1 else time)[..., None]
    return (1 - t) * noise + t * data, data - noise


def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int, prefix: Tensor | None = None
) -> Tensor:
    """Euler steps from noise (t=0) to data (t=1); exact where the field is that of one straight path.

    Args:
        velocity: Of actions (B,T,D) at flow times (B,T).
        noise: (B,T,D).
        steps: How many.
        prefix: (B,P,D), P <= T: the first steps of the result, which the others shall continue.
    """
    x, given = noise.clone(), 0 if prefix is None else prefix.shape[1]
    for i in range(steps):
        time = torch.full(noise.shape[:2], i / steps, device=noise.device, dtype=noise.dtype)
        if prefix is not None:
            x[:, :given], time[:, :given] = prefix, 1.0
        x = x + velocity(x, time) / steps
    if prefix is not None:
        x[:, :given] = prefix
    return x
