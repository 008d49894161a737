"""NanoVLA (Chen et al. 2025, "NanoVLA: Routing Decoupled Vision-Language Understanding for Nano-sized Generalist
Robotic Policies"): vision and language are fused late, and a small backbone answers wherever it is known to be enough.

Three things make it fast: language features are kept while the instruction stays (blocks/late_fusion.py); a long chunk
is trained and a short window of it executed (execution strategy `long_short` of vla_control); a Bayesian router calls
the large backbone only under uncertainty (blocks/beta_router.py). Both backbones learn together by L1 regression, and
how close they come to the demonstrations is what the router counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vla_policy.core import objectives
from vla_policy.core.blocks.beta_router import BetaRouter, BetaRouterConfig
from vla_policy.core.blocks.late_fusion import LateFusion, LateFusionConfig
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System


@dataclass(frozen=True, slots=True)
class NanoVlaConfig:
    """A preset's `model: system`.

    Attributes:
        small, large: See LateFusionConfig. router: See BetaRouterConfig.
        tolerance: Largest mean error of a chunk that counts as a success for the router, in standard deviations.
    """

    small: dict[str, Any]
    large: dict[str, Any]
    router: dict[str, Any]
    tolerance: float


class NanoVla(System):
    """See the module."""

    def __init__(self, config: NanoVlaConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.config = config
        self.small = LateFusion(parse(LateFusionConfig, config.small, "model: small"), sizes)
        self.large = LateFusion(parse(LateFusionConfig, config.large, "model: large"), sizes)
        self.router = BetaRouter(parse(BetaRouterConfig, config.router, "model: router"), sizes.sentence)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """L1 of both backbones; the router takes note of how well they did."""
        chunks = self.small(sight), self.large(sight)
        self.router.observe(sight.sentence, torch.stack([self._succeeded(chunk, labels) for chunk in chunks], 1))
        small, large = (objectives.l1(chunk, labels.chunk, labels.known) for chunk in chunks)
        return {"small": small, "large": large}

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """One pass of the backbone that the router chooses for each row."""
        chunk, escalated = torch.empty_like(noise), self.router.escalates(sight.sentence)
        for backbone, rows in ((self.small, ~escalated), (self.large, escalated)):
            if bool(rows.all()):
                chunk = backbone(sight)
            elif bool(rows.any()):
                chunk[rows] = backbone(sight.rows(rows))
        return Drawn(chunk, 1)

    def _succeeded(self, chunk: Tensor, labels: Labels) -> Tensor:
        error = (chunk.detach() - labels.chunk).abs().mean(-1) * labels.known
        return error.sum(1) <= self.config.tolerance * labels.known.sum(1)


@SYSTEMS.register("nanovla")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> NanoVla:
    return NanoVla(parse(NanoVlaConfig, {**model, **decoding}, "preset"), sizes)
