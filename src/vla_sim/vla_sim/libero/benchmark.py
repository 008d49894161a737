"""LIBERO-Spatial as a benchmark, and its actions in the units of the contract `libero_panda`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_core.types import Float32
from vla_sim.libero import scene
from vla_sim.libero.tasks import INITIAL_STATES
from vla_sim.third_party.benchmark import Benchmark

#: Views as the contract names them, in the order of `scene.CAMERAS`. A scene takes half a minute to load.
LIBERO_SPATIAL = Benchmark(
    "LIBERO", Path(scene.__file__), ("agentview", "eye_in_hand"), 8, 7, scene.MAX_STEPS, INITIAL_STATES, timeout_s=400.0
)
#: What an action of 1 is: displacement [m], rotation [rad], effort of the gripper (-1 opens .. 1 closes).
SCALE: Float32 = np.array([0.05, 0.05, 0.05, 0.5, 0.5, 0.5, 1.0], np.float32)


def to_libero(actions: Float32) -> Float32:
    """Actions (T,7) of the contract [m, rad, effort] as LIBERO's."""
    return (actions / SCALE).astype(np.float32)


def from_libero(actions: Float32) -> Float32:
    """LIBERO's actions (T,7), such as those of its data sets, as the contract's [m, rad, effort]."""
    return (actions * SCALE).astype(np.float32)
