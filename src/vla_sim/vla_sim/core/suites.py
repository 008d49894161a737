"""Suites by name: what `vla eval` can play."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vla_sim.core.tasks import SPLITS


@dataclass(frozen=True, slots=True)
class Suite:
    """A scene, the contract for it, the splits of its tasks, and the policy that ships for it."""

    scene: str
    contract: str
    splits: tuple[str, ...]
    policy: str


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        "tabletop": Suite("tabletop", "tabletop_panda", SPLITS, "tabletop_flow"),
        "turntable": Suite("turntable", "turntable_panda", ("heldout_pose",), "turntable_flow"),
    }
)
