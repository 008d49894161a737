"""Heads on a readout token's embedding (Octo Model Team 2024): small, and any number of them on one trunk.

The diffusion head denoises a whole chunk with an MLP of residual blocks; the trunk runs once per observation, the head
once per diffusion step (section III-A, appendix C). The L1 head says the chunk at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import UnknownNameError
from vla_policy.core import objectives
from vla_policy.core.diffusion import Diffusion, DiffusionConfig
from vla_policy.core.preset import parse
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import Drawn


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a diffusion head draws.

    Attributes:
        steps: Diffusion steps per chunk.
        eta: Noise drawn on the way, 1 as in DDPM (the paper), 0 none.
    """

    steps: int
    eta: float


class ReadoutHead(nn.Module, ABC):
    """Embeddings (B,C) to chunks."""

    @abstractmethod
    def loss(self, embedding: Tensor, chunk: Tensor, known: Tensor) -> Tensor:
        """Of normalised chunks (B,T,D), of which the steps `known` (B,T) bear a loss."""

    @abstractmethod
    def draw(self, embedding: Tensor, noise: Tensor, sampling: Sampling, further: Tensor) -> Drawn:
        """A chunk per row of noise (B,T,D); without a lot of its own, given what `further` says."""

    def further(self, noise: Tensor, sampling: Sampling) -> Tensor:
        """Noise (N,B,T,D) that `draw` adds on the way, the same for the same noise (B,T,D); N = 0: none."""
        return noise.new_zeros(0, *noise.shape)


@dataclass(frozen=True, slots=True)
class DiffusionHeadConfig:
    """Sizes of DiffusionHead; the paper's are 256, 3 and 32.

    Attributes:
        kind: 'diffusion'.
        width, blocks: Of the MLP.
        time_width: Of the embedding of the diffusion step.
        diffusion: See DiffusionConfig; 20 cosine steps in the paper.
        samples: Noise samples per embedding and training step.
    """

    kind: str
    width: int
    blocks: int
    time_width: int
    diffusion: dict[str, Any]
    samples: int


class DiffusionHead(ReadoutHead):
    """See the module."""

    def __init__(self, section: dict[str, Any], sizes: Sizes, embedding: int, where: str) -> None:
        super().__init__()
        config = parse(DiffusionHeadConfig, section, where)
        self.samples, self.diffusion = config.samples, Diffusion(parse(DiffusionConfig, config.diffusion, where))
        numbers, time, width = sizes.horizon * sizes.action_width, config.time_width, config.width
        self.waves = nn.Parameter(0.2 * torch.randn(time // 2))
        self.time = nn.Sequential(nn.Linear(time // 2 * 2, 2 * time), nn.SiLU(), nn.Linear(2 * time, time))
        self.begin = nn.Linear(time + embedding + numbers, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
            for _ in range(config.blocks)
        )
        self.out = nn.Linear(width, numbers)

    def predict(self, embedding: Tensor, actions: Tensor, time: Tensor) -> Tensor:
        """What the diffusion process asks of noisy actions (B,T,D) at steps (B,), given embeddings (B,C)."""
        phase = 2 * torch.pi * time[:, None] * self.waves
        moment = self.time(torch.cat([phase.cos(), phase.sin()], -1))
        x = self.begin(torch.cat([moment, embedding, actions.flatten(1)], -1))
        for block in self.blocks:
            x = x + block(x)
        out: Tensor = self.out(F.silu(x)).view_as(actions)
        return out

    def loss(self, embedding: Tensor, chunk: Tensor, known: Tensor) -> Tensor:
        """Denoising; several noise samples share one embedding."""
        several, times = embedding.repeat(self.samples, 1), self.samples
        return objectives.denoising(
            self.diffusion,
            lambda x, time: self.predict(several, x, time),
            chunk.repeat(times, 1, 1),
            known.repeat(times, 1),
        )

    def draw(self, embedding: Tensor, noise: Tensor, sampling: Sampling, further: Tensor) -> Drawn:
        """Denoise."""
        chunk = self.diffusion.sample(
            lambda x, time: self.predict(embedding, x, time), noise, sampling.steps, sampling.eta, further=further
        )
        return Drawn(chunk, sampling.steps)

    def further(self, noise: Tensor, sampling: Sampling) -> Tensor:
        """One per step, where `eta` wants any."""
        count, lot = sampling.steps if sampling.eta > 0 else 0, following(noise)
        drawn = [torch.randn(noise.shape, generator=lot, device=noise.device) for _ in range(count)]
        return torch.stack(drawn) if drawn else super().further(noise, sampling)


@dataclass(frozen=True, slots=True)
class L1HeadConfig:
    """Options of L1Head.

    Attributes:
        kind: 'l1'.
        largest: Normalised actions stay below this: 5 in the paper.
    """

    kind: str
    largest: float = 5.0


class L1Head(ReadoutHead):
    """Linear, bounded by tanh: the head that the authors fine-tune two-armed robots with."""

    def __init__(self, section: dict[str, Any], sizes: Sizes, embedding: int, where: str) -> None:
        super().__init__()
        self.largest = parse(L1HeadConfig, section, where).largest
        self.shape = (sizes.horizon, sizes.action_width)
        self.out = nn.Linear(embedding, sizes.horizon * sizes.action_width)

    def forward(self, embedding: Tensor) -> Tensor:
        """The chunk (B,T,D)."""
        bounded: Tensor = self.largest * torch.tanh(self.out(embedding) / self.largest)
        return bounded.view(-1, *self.shape)

    def loss(self, embedding: Tensor, chunk: Tensor, known: Tensor) -> Tensor:
        """L1."""
        return objectives.l1(self(embedding), chunk, known)

    def draw(self, embedding: Tensor, noise: Tensor, sampling: Sampling, further: Tensor) -> Drawn:
        """The same whatever the noise."""
        return Drawn(self(embedding), 1)


HEADS: dict[str, Callable[[dict[str, Any], Sizes, int, str], ReadoutHead]] = {"diffusion": DiffusionHead, "l1": L1Head}


def make_head(section: dict[str, Any], sizes: Sizes, embedding: int, where: str) -> ReadoutHead:
    """The head that `kind` names, on embeddings of that width.

    Raises:
        UnknownNameError: no such kind; lists the known ones.
        ConfigError: a key is missing, unknown or of a wrong type.
    """
    kind = str(section.get("kind"))
    if kind not in HEADS:
        raise UnknownNameError("kind of head", kind, HEADS)
    return HEADS[kind](section, sizes, embedding, where)


def following(noise: Tensor) -> torch.Generator:
    """For more noise, drawn alike whenever this noise is given."""
    bits = noise.detach().flatten()[:1].float().view(torch.int32)
    return torch.Generator(noise.device).manual_seed(int(bits) & 0xFFFFFFFF)
