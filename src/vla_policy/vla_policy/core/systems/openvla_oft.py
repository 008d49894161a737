"""OpenVLA-OFT and OFT+ (Kim, Finn, Liang 2025): parallel decoding of a whole chunk, continuous values, L1 regression.

One empty token per action value stands behind what is seen, read and felt, and sees all of it and the other empty ones.
So one pass gives all K D values, where autoregressive decoding takes K D passes; an MLP turns the states of a step's
tokens into its action. OFT+ is the same with the sentence scaling and shifting the visual tokens (FiLM: `backbone:
tokens: film`), so that language can't be overlooked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vla_policy.core import objectives
from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.chunk_regression import ChunkRegression, ChunkRegressionConfig
from vla_policy.core.blocks.knots import Knots
from vla_policy.core.blocks.parallel_actions import ParallelActions
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System


@dataclass(frozen=True, slots=True)
class OpenVlaOftConfig:
    """A preset's `model: system` section.

    Attributes:
        backbone: See blocks/backbones.py. head: See ChunkRegressionConfig.
        knots: K steps of the chunk that have tokens, D each; the others lie between them (blocks/knots.py).
    """

    backbone: dict[str, Any]
    head: dict[str, Any]
    knots: tuple[int, ...]


class OpenVlaOft(System):
    """See the module."""

    static = True

    def __init__(self, config: OpenVlaOftConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.backbone = make_backbone(config.backbone, sizes)
        width, self.knots = self.backbone.decoder_config.width, Knots(config.knots, sizes.horizon)
        self.actions = ParallelActions(len(config.knots), sizes.action_width, width)
        head = parse(ChunkRegressionConfig, config.head, "model: head")
        self.head = ChunkRegression(head, sizes.action_width, width)

    def values(self, sight: Sight) -> Tensor:
        """The chunk at its knots (B,K,D), normalised."""
        values: Tensor = self.head(self.actions(self.backbone, self.backbone.read(sight)))
        return values

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Absolute error."""
        wanted, known = self.knots.encode(labels.chunk), self.knots.encode(labels.known)
        return {"l1": objectives.l1(self.values(sight), wanted, known)}

    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """Nothing is drawn by lot: the noise has no influence."""
        mean, std = (self.knots.encode(part[None]) for part in (self.action_mean, self.action_std))
        chunk = self.knots.decode(self.values(sight) * std + mean)
        return Drawn(self.normalised(chunk), 1)


@SYSTEMS.register("openvla_oft")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> OpenVlaOft:
    return OpenVlaOft(parse(OpenVlaOftConfig, {**model, **decoding}, "preset"), sizes)
