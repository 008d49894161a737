"""What RT-2, OpenVLA and pi0-FAST share: a vision-language model that writes actions as tokens of its vocabulary."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vla_policy.core.blocks.backbones import make_backbone
from vla_policy.core.blocks.code_writer import Written, check_room, prompt
from vla_policy.core.blocks.fast_words import FastWords
from vla_policy.core.blocks.knot_words import KnotWords
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes
from vla_policy.core.systems.system import Drawn, System


@dataclass(frozen=True, slots=True)
class WritingConfig:
    """A preset's `model: system` section.

    Attributes:
        backbone: See blocks/backbones.py.
        actions: See KnotWordsConfig, or FastWordsConfig for pi0-FAST.
    """

    backbone: dict[str, Any]
    actions: dict[str, Any]


class WritingSystem(System):
    """Fits and draws; a subclass sets `actions` and says what is learnt."""

    actions: KnotWords | FastWords

    def __init__(self, config: WritingConfig, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.backbone = make_backbone(config.backbone, sizes)

    def fit(self, data: Fitting) -> None:
        """See System.

        Raises:
            ConfigError: words would stand where actions stand.
        """
        super().fit(data)
        check_room(self.backbone, self.actions.slots)

    @abstractmethod
    def act(self, sight: Sight) -> Written:
        """What it says when it is asked to act: action tokens, nothing else."""

    @torch.no_grad()
    def draw(self, sight: Sight, noise: Tensor) -> Drawn:
        """The likeliest tokens; the noise has no influence."""
        written = self.act(sight)
        return Drawn(self.normalised(self.actions.decode(written.codes)), written.passes)


class BinWritingSystem(WritingSystem):
    """Writes a bin for every value of some steps of the chunk."""

    actions: KnotWords

    def act(self, sight: Sight) -> Written:
        """See WritingSystem."""
        backbone = self.backbone
        return self.actions.write(backbone, backbone.read(sight), prompt(backbone, len(sight.state)))
