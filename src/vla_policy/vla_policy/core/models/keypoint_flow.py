"""Keypoints named by language, then a flow-matching action expert.

instruction -> RoleReader -> role queries --+
images -> ConvPyramid -> features ----------+-> Grounding -> Percept -> KeypointFusion -> FlowExpert -> chunk
state --------------------------------------------------------------------^

Two parts are optional: `FutureOffset` shifts the condition to a future state (VLASH), a residual head corrects chunks
(A2C2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.contract import Contract
from vla_policy.core import flow
from vla_policy.core.blocks.flow_expert import FlowExpert, FlowExpertConfig
from vla_policy.core.blocks.fusion import Condition, GenericPooling, KeypointFusion, KeypointFusionConfig, Percept
from vla_policy.core.blocks.grounding import Grounding, Located
from vla_policy.core.blocks.language import Reading, RoleReader, RoleReaderConfig
from vla_policy.core.blocks.residual_head import ResidualHead, ResidualHeadConfig, correct_chunk
from vla_policy.core.blocks.vision import STRIDE, ConvPyramid, ConvPyramidConfig
from vla_policy.core.drawing.future_state import AHEAD
from vla_policy.core.preset import parse
from vla_policy.core.processors import action_transform, state_features


@dataclass(frozen=True, slots=True)
class FutureOffsetConfig:
    """Size of FutureOffset."""

    block: str
    width: int


@dataclass(frozen=True, slots=True)
class KeypointFlowConfig:
    """Sizes of every block, None for those that are left out, and what the contract fixes."""

    vision: ConvPyramidConfig
    language: RoleReaderConfig
    fusion: KeypointFusionConfig
    head: FlowExpertConfig
    future: FutureOffsetConfig | None
    corrector: ResidualHeadConfig | None
    views: int
    image: int
    state: int
    horizon: int
    action_width: int


def configure(model: dict[str, Any], contract: Contract) -> KeypointFlowConfig:
    """Read a preset's `model` section.

    Raises:
        ConfigError: a block or key is missing, unknown or of a wrong type.
    """
    return KeypointFlowConfig(
        vision=parse(ConvPyramidConfig, model.get("vision"), "model: vision"),
        language=parse(RoleReaderConfig, model.get("language"), "model: language"),
        fusion=parse(KeypointFusionConfig, model.get("fusion"), "model: fusion"),
        head=parse(FlowExpertConfig, model.get("head"), "model: head"),
        future=parse(FutureOffsetConfig, model["future"], "model: future") if "future" in model else None,
        corrector=parse(ResidualHeadConfig, model["corrector"], "model: corrector") if "corrector" in model else None,
        views=len(contract.cameras),
        image=contract.cameras[0].width,
        state=state_features(contract).width,
        horizon=contract.horizon,
        action_width=action_transform(contract).width,
    )


class FutureOffset(nn.Module):
    """What is added to every condition token where a chunk begins at a future state; nothing for the observed one.

    Starts at nothing for every state, so that it can be added to a trained policy.
    """

    def __init__(self, config: FutureOffsetConfig, tokens: int) -> None:
        super().__init__()
        self.inner = nn.Linear(AHEAD, config.width, bias=False)
        self.outer = nn.Linear(config.width, tokens, bias=False)
        nn.init.zeros_(self.outer.weight)

    def forward(self, tokens: Tensor, ahead: Tensor) -> Tensor:
        """Tokens (B,N,C) and `future_state.features` (B,AHEAD) to tokens."""
        shifted: Tensor = tokens + self.outer(F.silu(self.inner(ahead)))[:, None]
        return shifted


class KeypointFlow(nn.Module):
    """The whole policy network but the frozen text encoder."""

    action_mean: Tensor
    action_std: Tensor

    def __init__(self, config: KeypointFlowConfig) -> None:
        super().__init__()
        self.config = config
        features, roles = config.vision.features, config.language.roles
        self.vision = ConvPyramid(config.vision, config.views)
        self.language = RoleReader(config.language, features)
        self.grounding = Grounding(features, config.image // STRIDE)
        self.generic = GenericPooling(config.views, config.fusion.generic_tokens, features)
        self.fusion = KeypointFusion(
            config.fusion,
            views=config.views,
            roles=roles,
            features=features,
            state=config.state,
            text=config.language.width,
            sentence=config.language.sentence_width,
        )
        self.head = FlowExpert(config.head, config.horizon, config.action_width)
        if config.future is not None:
            self.future = FutureOffset(config.future, config.fusion.width)
        if config.corrector is not None:
            self.corrector = ResidualHead(config.corrector, nn.Identity(), config.horizon, config.action_width)
        self.register_buffer("action_mean", torch.zeros(config.horizon, config.action_width))
        self.register_buffer("action_std", torch.ones(config.horizon, config.action_width))

    def see(self, rgb: Tensor, mixed: bool = False) -> Tensor:
        """Images (B,V,H,W,3), 0..255, to float32 features (B,V,C,H/4,W/4); `mixed`: convolutions in bfloat16."""
        x = rgb.permute(0, 1, 4, 2, 3).float() / 127.5 - 1.0
        with torch.autocast(x.device.type, torch.bfloat16, enabled=mixed):
            features = self.vision(x)
        out: Tensor = features.float()
        return out

    def perceive(self, features: Tensor, reading: Reading) -> tuple[Percept, Located]:
        """What the action side gets from the images, and the heatmaps behind it."""
        located = self.grounding(features, reading.queries)
        generic = self.generic(features, self.grounding.cells)
        return Percept(located.uv, located.presence, located.pooled, generic), located

    def encode(
        self, rgb: Tensor, reading: Reading, state: Tensor, ahead: Tensor | None = None
    ) -> tuple[Condition, Percept, Tensor]:
        """Everything that depends on the observation: condition, percept, and the head's keys and values."""
        percept, _ = self.perceive(self.see(rgb), reading)
        condition = self.fusion(percept, reading, state)
        return condition, percept, self.keys_values(condition, ahead)

    def keys_values(self, condition: Condition, ahead: Tensor | None = None) -> Tensor:
        """All that the head needs to draw a chunk; `ahead` (B,AHEAD) if it may begin at a future state."""
        tokens = condition.tokens if ahead is None else self.future(condition.tokens, ahead)
        return self.head.keys_values(tokens)

    def correct(self, actions: Tensor, first: int, tokens: Tensor) -> Tensor:
        """Actions (B,N,D) in physical units, steps first.. of their chunk, corrected by condition tokens (B,M,C)."""
        return correct_chunk(self.corrector, actions, first, tokens, self.action_mean, self.action_std)

    def sample(self, keys_values: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Chunk (B,T,D) in physical units by `steps` Euler steps from noise (B,T,D)."""
        out = flow.integrate(lambda x, t: self.head.velocity(x, t, keys_values), noise, steps)
        return out * self.action_std + self.action_mean

    def regress(self, keys_values: Tensor) -> Tensor:
        """Chunk (B,T,D) in physical units by the regression head."""
        return self.head.regress(keys_values) * self.action_std + self.action_mean
