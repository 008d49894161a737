"""The expert speaks other action spaces than its own, and solves the same tasks under physics, on time and late."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_core import tool_steps
from vla_core.action_parts import MEASURED, PREVIOUS_STEP
from vla_core.contract import parse_contract
from vla_core.files import config_path, load_yaml
from vla_core.types import Float32, Float64
from vla_sim.core.delays import DelayModel
from vla_sim.core.expert import clean_chunk
from vla_sim.core.rig import Player, Rig, run_episode

TOOL = {"names": ["dx", "dy", "dz", "rx", "ry", "rz"], "units": ["m", "m", "m", "rad", "rad", "rad"]}
GRIPPER = {"space": "gripper", "kind": "position", "names": ["gripper"], "units": ["0 closed .. 1 open"]}
SPACES = [
    {"frame": "base", "relative_to": "previous_step", "reference": "commanded"},
    {"frame": "tool", "relative_to": "chunk_start", "reference": "measured"},
]


def rig_for(space: dict[str, Any]) -> Rig:
    data = copy.deepcopy(load_yaml(config_path("contracts", "tabletop_panda")))
    action = data["action"]
    data["action"] = {key: action[key] for key in ("rate_hz", "horizon")}
    data["action"]["parts"] = [{"space": "tool_delta", **space, **TOOL}, GRIPPER]
    return Rig(parse_contract(data, Path("test.yaml")), render=False)


def in_deltas(rig: Rig) -> Float32:
    """The expert's chunk from now on, as the rig's contract wants it."""
    part = rig.contract.action_parts[0]
    state = rig.world.robot_state()
    q = state.q_rad if part.reference == MEASURED else rig.executor.sample(state.stamp_ns).q_rad
    first: Float64 = np.concatenate(rig.robot.tool_pose(q))
    said = clean_chunk(rig.world, rig.contract.horizon, rig.contract.dt_s).astype(np.float64)
    poses = said[:, :7]
    if part.relative_to == PREVIOUS_STEP:
        before, after = np.concatenate([first[None], poses[1:-1]]), poses[1:]
    else:
        before, after = first[None], poses
    deltas = tool_steps.between(before, after, part.frame)
    return np.concatenate([deltas, said[: len(deltas), 7:]], 1).astype(np.float32)


@pytest.mark.parametrize("delay_s", [0.0, 0.25])
@pytest.mark.parametrize("family", ["pick", "press_button"])
@pytest.mark.parametrize("space", SPACES, ids=lambda s: f"{s['relative_to']}-{s['reference']}-{s['frame']}")
def test_deltas_solve_what_poses_solve(space: dict[str, Any], family: str, delay_s: float) -> None:
    """With a reference taken on arrival instead of at the capture stamp, every late chunk would overshoot by 0.25 s."""
    rig = rig_for(space)
    player = Player(lambda observation, running: (in_deltas(rig), 0.0))
    episode = run_episode(rig, player, 77, "train", family, delay=DelayModel(delay_s))
    assert episode.success and not episode.rejections
