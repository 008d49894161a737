"""Convolutions along a chunk's steps, coarser and finer again, with a condition that scales and shifts every channel.

Chi et al. 2023, Diffusion Policy, section III-A (CNN-based Diffusion Policy), after Janner et al. 2022: residual blocks
of two convolutions; observation and diffusion step modulate the first one's channels (Perez et al. 2018, FiLM).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import ConfigError
from vla_policy.core.blocks.sinusoid import sinusoid
from vla_policy.core.systems.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Unet1dConfig:
    """A preset's `unet` section.

    Attributes:
        widths: Channels per level, each half as fine as the one before: (256, 512, 1024) in the paper.
        kernel: Steps that a convolution covers, odd: 5 in the paper.
        groups: Of the group norm: 8 in the paper.
        step_width: Of the embedding of the diffusion step: 128 in the paper.
    """

    widths: tuple[int, ...]
    kernel: int
    groups: int
    step_width: int

    def check(self, horizon: int) -> Unet1dConfig:
        """Return self.

        Raises:
            ConfigError: the chunk can't be halved as often as there are levels, or channels don't divide into groups.
        """
        halvings = 2 ** (len(self.widths) - 1)
        if not self.widths or horizon % halvings or self.kernel % 2 == 0 or any(w % self.groups for w in self.widths):
            got = f"unet: widths {list(self.widths)}, kernel {self.kernel}, groups {self.groups} for {horizon} steps"
            expected = "an odd kernel, widths that groups divides, steps that 2^(levels - 1) divides"
            raise ConfigError(got, expected, "mend the preset")
        return self


class _Convolution(nn.Module):
    """Convolution, group norm, Mish."""

    def __init__(self, inputs: int, outputs: int, config: Unet1dConfig) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, outputs, config.kernel, padding=config.kernel // 2)
        self.norm = nn.GroupNorm(config.groups, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(self.norm(self.convolution(x)))


class _Residual(nn.Module):
    """Two convolutions, FiLM after the first one."""

    def __init__(self, inputs: int, outputs: int, condition: int, config: Unet1dConfig) -> None:
        super().__init__()
        self.first, self.second = _Convolution(inputs, outputs, config), _Convolution(outputs, outputs, config)
        self.film = nn.Linear(condition, 2 * outputs)
        self.past = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B,C,T); condition (B,W) after its activation."""
        gamma, beta = self.film(condition)[..., None].chunk(2, 1)
        out: Tensor = self.past(x) + self.second((1 + gamma) * self.first(x) + beta)
        return out


class _Level(nn.Module):
    """Two residual blocks, then to the next level's number of steps."""

    def __init__(self, inputs: int, outputs: int, condition: int, config: Unet1dConfig, change: nn.Module) -> None:
        super().__init__()
        self.first = _Residual(inputs, outputs, condition, config)
        self.second = _Residual(outputs, outputs, condition, config)
        self.change = change

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """What the other side of the U gets at this level, and what the next level gets."""
        x = self.second(self.first(x, condition), condition)
        return x, self.change(x)


class Unet1d(nn.Module):
    """Says of a noisy chunk what the diffusion process asks for.

    Args:
        config: Sizes.
        sizes: Of the chunk.
        condition: Width of the global condition.

    Raises:
        ConfigError: see Unet1dConfig.check.
    """

    def __init__(self, config: Unet1dConfig, sizes: Sizes, condition: int) -> None:
        super().__init__()
        self.config = config.check(sizes.horizon)
        step, widths, actions = config.step_width, config.widths, sizes.action_width
        self.step = nn.Sequential(nn.Linear(step, 4 * step), nn.Mish(), nn.Linear(4 * step, step))
        whole, last = condition + step, len(widths) - 1
        self.down = nn.ModuleList(
            _Level(a, b, whole, config, nn.Conv1d(b, b, 3, 2, 1) if i < last else nn.Identity())
            for i, (a, b) in enumerate(pairwise((actions, *widths)))
        )
        self.middle = _Level(widths[-1], widths[-1], whole, config, nn.Identity())
        self.up = nn.ModuleList(
            _Level(2 * b, a, whole, config, nn.ConvTranspose1d(a, a, 4, 2, 1)) for a, b in pairwise(widths)
        )
        self.out = nn.Sequential(_Convolution(widths[0], widths[0], config), nn.Conv1d(widths[0], actions, 1))

    def forward(self, actions: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Noisy actions (B,T,D), diffusion steps (B,) and the condition (B,W) to (B,T,D)."""
        film = F.mish(torch.cat([self.step(sinusoid(time, self.config.step_width)), condition], -1))
        x, kept = actions.transpose(1, 2), []
        for level in self.down:
            skip, x = level(x, film)
            kept.append(skip)
        _, x = self.middle(x, film)
        for level in reversed(self.up):
            _, x = level(torch.cat([x, kept.pop()], 1), film)
        out: Tensor = self.out(x).transpose(1, 2)
        return out
