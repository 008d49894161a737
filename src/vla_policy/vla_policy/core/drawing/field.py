"""The velocity field that drawing methods integrate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Field:
    """Velocity of noisy actions (B,T,D), normalised, at flow times (B,T); conditioned on one observation.

    Attributes:
        fast: The velocity, without gradients.
        differentiable: The same by torch, for guidance.
        text: What was said before, as in `Drawn.text`.
    """

    fast: Velocity
    differentiable: Velocity
    text: tuple[str, ...] = ()

    def pull_back(self, x: Tensor, time: Tensor, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Velocity v at x, and w^T dv/dx for the weights w = choose(v); all (B,T,D)."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            velocity = self.differentiable(leaf, time)
            (pulled,) = torch.autograd.grad(velocity, leaf, choose(velocity.detach()))
        return velocity.detach(), pulled
