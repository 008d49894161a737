"""OpenVLA (Kim et al. 2024): two encoders, one language model, one action as seven of its least used tokens.

A semantic and a spatial encoder look at the image; their features stand side by side, channel by channel, and an MLP
projects them to tokens of the language model (section 3.1). Every action value is one of 256 bins between the 1st and
99th percentile of the data, which outliers don't widen, and every bin takes the place of one of the tokens that the
tokenizer uses least: its last ones (section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.code_writer import check_room, prompt, teach
from vla_policy.core.blocks.knot_words import KnotWords, KnotWordsConfig
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.systems.system import SYSTEMS, Drawn, Labels, System


@dataclass(frozen=True, slots=True)
class OpenVlaConfig:
    """A preset's `model: system` section.

    Attributes:
        backbone: See blocks/backbones.py; its tokens are `fused`.
        actions: See KnotWordsConfig.
    """

    backbone: dict[str, Any]
    actions: dict[str, Any]


class OpenVla(System):
    """See the module."""

    def __init__(self, config: OpenVlaConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.backbone = make_backbone(config.backbone, sizes)
        self.needs = self.backbone.needs
        actions = parse(KnotWordsConfig, config.actions, "model: actions")
        self.actions = KnotWords(actions, "quantile", sizes, self.backbone.embedding.num_embeddings)

    def fit(self, data: Fitting) -> None:
        """See System.

        Raises:
            ConfigError: words would stand where actions stand.
        """
        super().fit(data)
        check_room(self.backbone, self.actions.slots)

    def losses(self, sight: Sight, labels: Labels) -> dict[str, Tensor]:
        """Next tokens of actions."""
        backbone, slots = self.backbone, self.actions.slots
        codes = self.actions.encode(self.physical(labels.chunk), labels.known)
        return {"action": teach(backbone, slots, backbone.read(sight), prompt(backbone, len(codes)), codes)}

    @torch.no_grad()
    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """The likeliest tokens; the noise has no influence."""
        backbone = self.backbone
        written = self.actions.write(backbone, backbone.read(sight), prompt(backbone, len(sight.state)))
        return Drawn(self.normalised(self.actions.decode(written.codes)), written.passes)


@SYSTEMS.register("openvla")
def _make(model: dict[str, Any], decoding: dict[str, Any], sizes: Sizes) -> OpenVla:
    return OpenVla(parse(OpenVlaConfig, {**model, **decoding}, "preset"), sizes)
