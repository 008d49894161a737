"""Meta-World MT50 as a benchmark.

Scenes are drawn from the task's whole box by the seed, as LeRobot does. Evo-1's published evaluation
(MetaWorld_evaluation/ in github.com/MINT-SJTU/Evo-1) plays 10 episodes of at most 400 steps per task and executes 15
actions of a chunk; it also gives the policy the first 8 numbers of Meta-World's state, which go beyond proprioception:
the object's place is among them. Here a policy gets none of that. LeRobot plays 500 steps, Meta-World's own limit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_core.types import Float32
from vla_sim.metaworld import scene
from vla_sim.metaworld.tasks import EVALUATION_SEEDS
from vla_sim.third_party.benchmark import Benchmark

#: Longest episode that Evo-1's published evaluation counts.
EVO1_STEPS = 400

METAWORLD = Benchmark("Meta-World", Path(scene.__file__), (scene.CAMERA,), 4, 4, scene.MAX_STEPS, EVALUATION_SEEDS)
_CM = 0.01  # an action of 1 moves the tool by 1 cm


def to_metaworld(actions: Float32) -> Float32:
    """Actions (T,7) of the contract `metaworld_sawyer` [m, rad, effort] as Meta-World's (T,4) [cm, effort]."""
    return np.concatenate([actions[:, :3] / _CM, actions[:, 6:]], 1).astype(np.float32)
