"""A chunk policy for tracked targets, without images: proprioception and targets -> tokens -> FlowExpert -> chunk.

Targets are a set: their tokens share all weights and bear no number, so that exchanging two changes nothing. A second
head corrects chunks (A2C2, `blocks/residual_head.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla_core.contract import Contract
from vla_policy.core.blocks.attention import EncoderBlock, mlp
from vla_policy.core.blocks.flow_expert import FlowExpert, FlowExpertConfig
from vla_policy.core.blocks.residual_head import ResidualHead, ResidualHeadConfig, correct_chunk
from vla_policy.core.preset import parse
from vla_policy.core.processors import POSITION_SCALE_M, action_transform

SELF, TARGET = 11, 6  # features of the robot's token and of a target's
SPEED_SCALE_M_S = 0.1
_WIDTH_SCALE_M = 0.1


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes of the set encoder."""

    block: str
    width: int
    layers: int
    heads: int


@dataclass(frozen=True, slots=True)
class TargetFlowConfig:
    """Sizes of every block, and what the contract fixes."""

    encoder: EncoderConfig
    head: FlowExpertConfig
    corrector: ResidualHeadConfig
    horizon: int
    action_width: int


def configure(model: dict[str, Any], contract: Contract) -> TargetFlowConfig:
    """Read a preset's `model` section.

    Raises:
        ConfigError: a block or key is missing, unknown or of a wrong type.
    """
    return TargetFlowConfig(
        encoder=parse(EncoderConfig, model.get("encoder"), "model: encoder"),
        head=parse(FlowExpertConfig, model.get("head"), "model: head"),
        corrector=parse(ResidualHeadConfig, model.get("corrector"), "model: corrector"),
        horizon=contract.horizon,
        action_width=action_transform(contract).width,
    )


@dataclass(frozen=True, slots=True)
class Situation:
    """What the model is told, physical units.

    Attributes:
        tool: (B,9) tool position [m] and the first two columns of its rotation matrix.
        width: (B,) opening of the gripper [m].
        position, velocity: (B,K,3) of the targets [m], [m/s].
        age_s: (B,) how much older the targets are than the tool pose [s]; not 0 for VLASH.
    """

    tool: Tensor
    width: Tensor
    position: Tensor
    velocity: Tensor
    age_s: Tensor

    def features(self) -> tuple[Tensor, Tensor]:
        """Robot (B,SELF) and targets (B,K,TARGET); targets relative to the tool, all near 1 in size."""
        own = torch.cat(
            [self.tool[:, :3] / POSITION_SCALE_M - 3.0 * self.tool.new_tensor([1.0, 0.0, 0.0]), self.tool[:, 3:],
             (self.width / _WIDTH_SCALE_M)[:, None], self.age_s[:, None]], 1,
        )  # fmt: skip
        gap = (self.position - self.tool[:, None, :3]) / POSITION_SCALE_M
        return own, torch.cat([gap, self.velocity / SPEED_SCALE_M_S], -1)


class SetEncoder(nn.Module):
    """Robot and targets to tokens (B,1+K,C)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.own = mlp(SELF, config.width, config.width)
        self.target = mlp(TARGET, config.width, config.width)
        self.blocks = nn.ModuleList(EncoderBlock(config.width, config.heads) for _ in range(config.layers))

    def forward(self, situation: Situation) -> Tensor:
        """See the class."""
        own, targets = situation.features()
        x = torch.cat([self.own(own)[:, None], self.target(targets)], 1)
        for block in self.blocks:
            x = block(x)
        return x


class TargetFlow(nn.Module):
    """Encoder, flow head, and the corrector of its chunks."""

    action_mean: Tensor
    action_std: Tensor

    def __init__(self, config: TargetFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SetEncoder(config.encoder)
        self.head = FlowExpert(config.head, config.horizon, config.action_width)
        sizes = config.corrector
        own = SetEncoder(EncoderConfig("set", sizes.width, config.encoder.layers, sizes.heads))
        self.corrector = ResidualHead(sizes, own, config.horizon, config.action_width)
        self.register_buffer("action_mean", torch.zeros(config.horizon, config.action_width))
        self.register_buffer("action_std", torch.ones(config.horizon, config.action_width))

    def keys_values(self, situation: Situation) -> Tensor:
        """All that denoising needs from the observation."""
        return self.head.keys_values(self.encoder(situation))

    def correct(self, actions: Tensor, first: int, situation: Situation) -> Tensor:
        """Actions (B,N,D) in physical units, steps first.. of their chunk, corrected."""
        return correct_chunk(self.corrector, actions, first, situation, self.action_mean, self.action_std)
