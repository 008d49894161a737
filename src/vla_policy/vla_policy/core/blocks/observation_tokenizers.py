"""Tokenizers of one part of an observation each, for trunks to which parts are added one by one (Octo, sec. III-A)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vla_core.errors import ConfigError, UnknownNameError
from vla_policy.core.blocks.attention import mlp
from vla_policy.core.blocks.sight_tokens import NEAR_M
from vla_policy.core.preset import parse
from vla_policy.core.sight import Sight
from vla_policy.core.systems.sizes import Fitting, Sizes


@dataclass(frozen=True, slots=True)
class TokenizerConfig:
    """One observation of a preset.

    Attributes:
        kind: 'objects', one token per taught object; 'scene', the eyes' pooled features; 'patches', the cells of their
            feature maps; 'state', one token.
        views: Cameras, by number, that it looks through; none for the state.
    """

    kind: str
    views: tuple[int, ...] = ()


class Tokenizer(nn.Module):
    """Sights (B) to tokens (B,count,width).

    Attributes:
        count: Tokens per observation.
        needs: Optional fields of Sight that must be there.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, count: int, views: tuple[int, ...]) -> None:
        super().__init__()
        self.count, self.views = count, list(views)


class Objects(Tokenizer):
    """How every taught object looks in these views, and where it is."""

    names: Tensor

    def __init__(self, views: tuple[int, ...], sizes: Sizes, width: int) -> None:
        super().__init__(sizes.names, views)
        self.embed = mlp(len(views) * (sizes.features + 3) + 6 + sizes.features, 2 * width, width)
        self.register_buffer("names", torch.zeros(sizes.names, sizes.features))

    def fit(self, data: Fitting) -> None:
        """Take the queries that stand for the taught names."""
        self.names.copy_(data.names)

    def forward(self, sight: Sight) -> Tensor:
        """See Tokenizer."""
        parts = [part[:, self.views] for part in (sight.pooled, sight.uv, sight.presence[..., None])]
        seen = torch.cat(parts, -1).transpose(1, 2).flatten(2)
        place = torch.cat([sight.xyz - sight.xyz.new_tensor([0.5, 0.0, 0.0]), sight.xyz - sight.tool[:, None]], -1)
        names = self.names.expand(len(seen), -1, -1)
        out: Tensor = self.embed(torch.cat([seen, place / NEAR_M, names], -1))
        return out


class Scene(Tokenizer):
    """What learned queries of the eyes pool from these views."""

    def __init__(self, views: tuple[int, ...], sizes: Sizes, width: int) -> None:
        super().__init__(len(views) * sizes.generic, views)
        self.embed = nn.Linear(sizes.features + 2, width)

    def forward(self, sight: Sight) -> Tensor:
        """See Tokenizer."""
        out: Tensor = self.embed(sight.generic[:, self.views].flatten(1, 2))
        return out


class Patches(Tokenizer):
    """Every cell of the first encoder's 8x8 feature map of these views."""

    needs = frozenset({"fine"})

    def __init__(self, views: tuple[int, ...], sizes: Sizes, width: int) -> None:
        super().__init__(len(views) * CELLS, views)
        self.embed = nn.Linear(sizes.features, width)

    def forward(self, sight: Sight) -> Tensor:
        """See Tokenizer."""
        assert sight.fine is not None, "the stage brings what `needs` names"
        out: Tensor = self.embed(sight.fine[:, self.views].flatten(3).transpose(2, 3).flatten(1, 2))
        return out


class State(Tokenizer):
    """What the robot feels."""

    def __init__(self, views: tuple[int, ...], sizes: Sizes, width: int) -> None:
        super().__init__(1, views)
        self.embed = mlp(sizes.state, width, width)

    def forward(self, sight: Sight) -> Tensor:
        """See Tokenizer."""
        out: Tensor = self.embed(sight.state)[:, None]
        return out


CELLS = 64  # of a feature map (core/eyes.py)
KINDS: dict[str, Callable[[tuple[int, ...], Sizes, int], Tokenizer]] = {
    "objects": Objects, "scene": Scene, "patches": Patches, "state": State,
}  # fmt: skip


def make_tokenizer(name: str, section: dict[str, Any], sizes: Sizes, width: int) -> Tokenizer:
    """The tokenizer of a preset's section.

    Raises:
        UnknownNameError: no such kind; lists the known ones.
        ConfigError: a key is missing or unknown, or a view isn't there.
    """
    config = parse(TokenizerConfig, section, f"model: observations: {name}")
    if config.kind not in KINDS:
        raise UnknownNameError("kind of observation", config.kind, KINDS)
    blind = config.kind == "state"
    if blind == bool(config.views) or not set(config.views) <= set(range(sizes.views)):
        expected = "no views" if blind else f"views among {list(range(sizes.views))}"
        got = f"observation '{name}' of kind {config.kind} with views {list(config.views)}"
        raise ConfigError(got, expected, "mend the preset's `observations`")
    return KINDS[config.kind](config.views, sizes, width)
