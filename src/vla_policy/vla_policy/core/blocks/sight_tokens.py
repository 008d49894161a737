"""From a Sight to the tokens of a backbone: one per taught object, a few of the scene, the state, and the words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_core.errors import PolicyError
from vla_policy.core.blocks.attention import learned, mlp
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes

NEAR_M = 0.1  # scale of places relative to the tool


@dataclass(frozen=True, slots=True)
class SightTokensConfig:
    """Options of SightTokens.

    Attributes:
        text: Word tokens stand in the sequence; False for systems that bring language in elsewhere.
        film: The sentence modulates the visual tokens (Perez et al. 2018; OpenVLA-OFT+), identity at the start.
        fused: The second encoder's features stand beside the first one's, channel by channel, before the projector
            (Karamcheti et al. 2024, Prismatic VLMs; OpenVLA, section 3.1).
    """

    text: bool = True
    film: bool = False
    fused: bool = False


class Film(nn.Module):
    """Scale and shift of features by a condition: h -> (1 + gamma) h + beta; changes nothing at the start."""

    def __init__(self, condition: int, features: int) -> None:
        super().__init__()
        self.to_both = nn.Linear(condition, 2 * features)
        nn.init.zeros_(self.to_both.weight)
        nn.init.zeros_(self.to_both.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B,...,C) and condition (B,W)."""
        gamma, beta = self.to_both(condition).chunk(2, -1)
        shape = (len(x), *(1,) * (x.dim() - 2), -1)
        out: Tensor = x * (1 + gamma.view(shape)) + beta.view(shape)
        return out


class SightTokens(nn.Module):
    """Embeds a Sight; the sequence is objects, scene, state, words."""

    names: Tensor

    def __init__(self, config: SightTokensConfig, sizes: Sizes, width: int) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        seen = sizes.views * (sizes.features + 3)
        semantic = sizes.views * sizes.semantic if config.fused else 0
        self.object = mlp(seen + 6 + sizes.features + semantic, 2 * width, width)
        self.generic = nn.Linear(sizes.features + 2, width)
        self.generic_kind = learned(1, sizes.views * sizes.generic, width)
        self.state = mlp(sizes.state, width, width)
        if config.text:
            self.word = nn.Linear(sizes.text, width)
        if config.film:
            self.film = Film(sizes.sentence, width)
        self.register_buffer("names", torch.zeros(sizes.names, sizes.features))

    def fit(self, data: Fitting) -> None:
        """Take the queries that stand for the taught names."""
        self.names.copy_(data.names)

    @property
    def needs(self) -> frozenset[str]:
        """See System.needs."""
        return frozenset({"semantic"} if self.config.fused else ())

    def completed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of SightTokens without `film` and `fused`, with what these add, which changes nothing at first."""
        own = {**tensors}
        if self.config.film:
            own |= {f"film.{name}": part for name, part in self.film.state_dict().items()}
        first = "object.0.weight"
        if self.config.fused and first in own:
            missing = self.state_dict()[first].shape[1] - own[first].shape[1]
            own[first] = F.pad(own[first], (0, max(0, missing)))
        return own

    def forward(self, sight: Sight) -> tuple[Tensor, Tensor]:
        """Tokens (B,N,width) and which of them are valid, bool (B,N).

        Raises:
            PolicyError: features of a second encoder are missing.
        """
        config, batch = self.config, len(sight.state)
        parts = [sight.pooled, sight.uv, sight.presence[..., None]]
        seen = torch.cat(parts, -1).transpose(1, 2).flatten(2)
        place = torch.cat([sight.xyz - sight.xyz.new_tensor([0.5, 0.0, 0.0]), sight.xyz - sight.tool[:, None]], -1)
        names = self.names.expand(batch, -1, -1)
        channels = [seen, place / NEAR_M, names]
        if config.fused:
            if sight.semantic is None:
                raise PolicyError("a sight by one encoder", "Sight.semantic", "let the eyes keep what `needs` names")
            channels.append(sight.semantic.transpose(1, 2).flatten(2))
        visual = torch.cat([self.object(torch.cat(channels, -1)),
                            self.generic(sight.generic.flatten(1, 2)) + self.generic_kind], 1)  # fmt: skip
        if config.film:
            visual = self.film(visual, sight.sentence)
        tokens = [visual, self.state(sight.state)[:, None]]
        valid = [torch.ones(batch, visual.shape[1] + 1, dtype=torch.bool, device=visual.device)]
        if config.text:
            tokens.append(self.word(sight.text))
            valid.append(sight.text_mask)
        return torch.cat(tokens, 1), torch.cat(valid, 1)
