"""Realtime-VLA (Ma et al. 2025, "Running VLAs at Real-time Speed"): pi0, faster, with the same answers.

The graph is simplified without changing its result (blocks/folded.py), all shapes are static, and the whole way from
what is seen to the chunk is recorded once and replayed (core/recorded.py): a CUDA graph on a GPU, OpenVINO on a CPU. It
trains as pi0 and reads pi0's weights.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from vla_policy.core.blocks.folded import FoldedExpert
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.pi0 import Pi0, Pi0Config
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Prelude


class RealtimeVla(Pi0):
    """See the module. Execution strategies that steer the field, batches and training take pi0's own way."""

    static = True

    def __init__(self, config: Pi0Config, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self._folded: FoldedExpert | None = None

    def train(self, mode: bool = True) -> Self:
        """As nn.Module; forgets what was folded, since weights change."""
        self._folded = None
        return super().train(mode)

    @torch.no_grad()
    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """As pi0."""
        if len(noise) > 1 or self.training:
            return super().draw(sight, noise)
        tokens, valid = self.backbone.see(sight)
        chunk = self._fold(int(tokens.shape[1]))(tokens, valid, sight.state, valid.sum(1), noise)
        return Drawn(chunk, self.config.steps)

    def prelude(self, sight: Sight, noise: Tensor) -> Prelude:
        """Folds, so that it isn't recorded."""
        if self._folded is None:
            self._fold(self.backbone.see(sight)[0].shape[1])
        return Prelude()

    def _fold(self, prefix: int) -> FoldedExpert:
        """For prefixes of up to so many tokens."""
        if self._folded is None or self._folded.prefix < prefix:
            folded = FoldedExpert(self.backbone.decoder, self.expert, self.config.steps, prefix)
            object.__setattr__(self, "_folded", folded)  # no part of the weights
        assert self._folded is not None
        return self._folded


@SYSTEMS.register("realtime_vla")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> RealtimeVla:
    return RealtimeVla(parse(Pi0Config, {**model, **decoding}, "preset"), sizes)
