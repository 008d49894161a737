"""Worlds by the `world` key of their scene file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from vla_core.errors import UnknownNameError
from vla_sim.core.scene import load_scene
from vla_sim.core.turntable import TurntableWorld
from vla_sim.core.world import World

WORLDS: Mapping[str, Callable[[str], World]] = MappingProxyType({"tabletop": World, "turntable": TurntableWorld})


def make_world(scene: str) -> World:
    """The world of `config/scenes/<scene>.yaml`.

    Raises:
        UnknownNameError: no such scene, or its kind of world isn't known.
    """
    kind = str(load_scene(scene).get("world", ""))
    if kind not in WORLDS:
        raise UnknownNameError("world", kind, WORLDS)
    return WORLDS[kind](scene)
