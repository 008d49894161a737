"""Backbones by name, for systems that put a vision-language model in front of their action head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vla_core.registry import Registry
from vla_policy.core.blocks.vlm import SmallVlm, SmallVlmConfig
from vla_policy.core.preset import parse
from vla_policy.core.systems.sizes import Sizes

#: A preset's `backbone` section and sizes to a backbone; other packages add theirs by entry points of this group.
BACKBONES: Registry[Callable[[dict[str, Any], Sizes], SmallVlm]] = Registry("backbone", "vla_policy.backbones")


@BACKBONES.register("small_vlm")
def _small(section: dict[str, Any], sizes: Sizes) -> SmallVlm:
    return SmallVlm(parse(SmallVlmConfig, section, "model: backbone"), sizes)


@BACKBONES.register("hf_vlm")
def _published(section: dict[str, Any], sizes: Sizes) -> SmallVlm:
    from vla_policy.core.blocks.hf_vlm import HfVlm, HfVlmConfig

    return HfVlm(parse(HfVlmConfig, section, "model: backbone"), sizes)


def make_backbone(section: dict[str, Any], sizes: Sizes) -> SmallVlm:
    """Make the backbone that `block` names.

    Raises:
        UnknownNameError: no such block; lists the known ones.
        ConfigError: a key is missing, unknown or of a wrong type.
    """
    return BACKBONES.get(str(section.get("block")))(section, sizes)
