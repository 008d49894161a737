"""From what was read and seen to the tokens that condition the action head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vla_policy.core.blocks.attention import EncoderBlock, learned, mlp
from vla_policy.core.blocks.language import Reading


@dataclass(frozen=True, slots=True)
class KeypointFusionConfig:
    """Sizes of KeypointFusion."""

    block: str
    width: int
    layers: int
    heads: int
    generic_tokens: int


class Percept(NamedTuple):
    """All that the action side gets from the images; small enough to be cached for every training frame.

    Attributes:
        uv: (B,V,R,2) -1..1.
        presence: (B,V,R) logit.
        pooled: (B,V,R,C).
        generic: (B,V,G,C+2) pooled features and mean position of learned queries.
    """

    uv: Tensor
    presence: Tensor
    pooled: Tensor
    generic: Tensor

    def moved(self, shift: Tensor) -> Percept:
        """The same percept with image positions moved by `shift` (B,V,2)."""
        generic = torch.cat([self.generic[..., :-2], self.generic[..., -2:] + shift[:, :, None]], -1)
        return self._replace(uv=self.uv + shift[:, :, None], generic=generic)


class Condition(NamedTuple):
    """What the action head attends to, and what is read off on the way.

    Attributes:
        tokens: (B,N,width).
        role_xyz: (B,R,3) places of the roles in the robot base frame, whitened.
        progress: (B,) 0..1.
        success: (B,) logit.
    """

    tokens: Tensor
    role_xyz: Tensor
    progress: Tensor
    success: Tensor


class GenericPooling(nn.Module):
    """Learned queries pool each view where they find what they look for; no language involved."""

    def __init__(self, views: int, queries: int, features: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(views, queries, features))
        self.scale = features**-0.5

    def forward(self, features: Tensor, cells: Tensor) -> Tensor:
        """Features (B,V,C,h,w), cells (h*w,2), to (B,V,G,C+2)."""
        flat = features.flatten(3)
        weights = torch.softmax(self.queries @ flat * self.scale, -1)
        return torch.cat([weights @ flat.transpose(2, 3), weights @ cells], -1)


class KeypointFusion(nn.Module):
    """Role, scene, state and sentence tokens, mixed by a few encoder blocks. Positions stay in float32."""

    state_mean: Tensor
    state_std: Tensor
    xyz_mean: Tensor
    xyz_std: Tensor

    def __init__(
        self,
        config: KeypointFusionConfig,
        *,
        views: int,
        roles: int,
        features: int,
        state: int,
        text: int,
        sentence: int,
    ) -> None:
        super().__init__()
        width = config.width
        seen = views * (features + 3)
        self.locate = mlp(seen + state, 256, 3, layers=2)
        self.role = mlp(seen + 6 + text, 2 * width, width)
        self.role_kind = learned(1, roles, width)
        self.generic = nn.Linear(features + 2, width)
        self.generic_kind = learned(1, views * config.generic_tokens, width)
        self.state = mlp(state, width, width)
        self.sentence = nn.Linear(sentence, width)
        self.readout = learned(1, 1, width)
        self.blocks = nn.ModuleList(EncoderBlock(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.progress = nn.Linear(width, 1)
        self.success = nn.Linear(width, 1)
        for name, size in (("state", state), ("xyz", 3)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def forward(self, percept: Percept, reading: Reading, state: Tensor, mixed: bool = False) -> Condition:
        """State features (B,S), the first three being the tool position [m]; `mixed`: blocks in bfloat16."""
        whitened = (state - self.state_mean) / self.state_std
        seen = torch.cat([percept.pooled, percept.uv, torch.sigmoid(percept.presence)[..., None]], -1)
        seen = seen.transpose(1, 2).flatten(2)
        roles = seen.shape[1]
        role_xyz = self.locate(torch.cat([seen, whitened[:, None].expand(-1, roles, -1)], -1))
        place_m = role_xyz * self.xyz_std + self.xyz_mean
        relative = (place_m - state[:, None, :3]) / 0.1
        role = self.role(torch.cat([seen, role_xyz, relative, reading.roles], -1)) + self.role_kind
        generic = self.generic(percept.generic.flatten(1, 2)) + self.generic_kind
        single = [self.state(whitened)[:, None], self.sentence(reading.sentence)[:, None]]
        x = torch.cat([self.readout.expand(state.shape[0], -1, -1), role, generic, *single], 1)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=mixed):
            for block in self.blocks:
                x = block(x)
        x = self.norm(x.float())
        readout = x[:, 0]
        return Condition(x, role_xyz, torch.sigmoid(self.progress(readout))[:, 0], self.success(readout)[:, 0])
