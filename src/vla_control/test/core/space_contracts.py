"""Contracts of every action space, chunks for them, and one motion to write in each; for the tests of this folder."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vla_control.core.chunk_executor import ChunkExecutor
from vla_control.core.ik import ChunkIk
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.robot import RobotModel
from vla_core import tool_steps
from vla_core.contract import Contract, parse_contract
from vla_core.files import config_path, load_yaml
from vla_core.types import ActionChunk, Float64

MS = 1_000_000
DT_MS, STEPS = 50, 20
JOINTS = [f"panda_joint{i}" for i in range(1, 8)]
TOOL = {"names": ["dx", "dy", "dz", "rx", "ry", "rz"], "units": ["m", "m", "m", "rad", "rad", "rad"]}
GRIPPER = {"space": "gripper", "kind": "position", "names": ["gripper"], "units": ["0 closed .. 1 open"]}
BASE = {"space": "base_twist", "names": ["vx", "vy", "wz"], "units": ["m/s", "m/s", "rad/s"]}
MODE = {"space": "mode", "names": ["mode"], "units": ["index"]}
DELTAS = [
    {"space": space, "relative_to": relative_to, "reference": reference, **columns, **frame}
    for space, columns, frames in [
        ("joint_delta", {"names": JOINTS, "units": ["rad"] * 7}, [{}]),
        ("tool_delta", TOOL, [{"frame": "base"}, {"frame": "tool"}]),
    ]
    for frame in frames
    for relative_to in ("previous_step", "chunk_start")
    for reference in ("commanded", "measured")
]
ABSOLUTE = [
    {"space": "joint_position", "names": JOINTS, "units": ["rad"] * 7},
    {"space": "tool_pose", "names": ["x", "y", "z", "qx", "qy", "qz", "qw"], "units": ["m"] * 3 + ["1"] * 4},
]


def name_of(part: dict[str, Any]) -> str:
    return "-".join(str(part[k]) for k in ("space", "frame", "relative_to", "reference") if k in part)


def contract_with(*parts: dict[str, Any], robot: str = "panda") -> Contract:
    data = copy.deepcopy(load_yaml(config_path("contracts", "tabletop_panda")))
    data["robot"], data["action"] = robot, {"rate_hz": 1000 / DT_MS, "horizon": STEPS, "parts": list(parts)}
    return parse_contract(data, Path("test.yaml"))


def executor_for(contract: Contract, q: Float64, gripper_mode: str = "continuous") -> ChunkExecutor:
    params = replace(ExecutorParameters.from_config(), gripper_mode=gripper_mode, ik_posture_rate_1_s=0.0)
    executor = ChunkExecutor(RobotModel.load(contract.robot), contract, params)
    executor.reset(q, np.array([0.08]), 0)
    return executor


def chunk_of(contract: Contract, actions: Float64, stamp_ns: int, sequence: int = 1) -> ActionChunk:
    return ActionChunk(
        stamp_ns, sequence, "test", contract.hash, contract.action_space, contract.action_names, contract.dt_s,
        np.asarray(actions, np.float32),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _sway() -> Float64:
    """Every 10 ms for 3 s; by inverse kinematics, so that the elbow does what it does for tool poses too."""
    robot = RobotModel.load("panda")
    params = replace(ExecutorParameters.from_config(), ik_posture_rate_1_s=0.0)
    position, quaternion = robot.tool_pose(robot.config.home_rad)
    rise = 1.0 - np.cos(1.5 * 0.01 * np.arange(300))[:, None]
    home = np.concatenate([position, quaternion])
    poses = tool_steps.moved(home[None], rise * np.array([-0.03, 0.06, 0.05, 0.1, -0.05, 0.2]), "base")
    return ChunkIk(robot, params).solve(poses[:, :3], poses[:, 3:], robot.config.home_rad, 0.01).q_rad


def sway(times_s: Float64) -> Float64:
    """Joint positions (N,J) that leave home slowly, tool and elbow."""
    path = _sway()
    return np.stack([np.interp(times_s, 0.01 * np.arange(len(path)), column) for column in path.T], 1)


def written(part: dict[str, Any], path: Float64, robot: RobotModel) -> Float64:
    """A joint path (N,7), whose first place is the reference, as actions of one part."""
    poses = np.array([np.concatenate(robot.tool_pose(q)) for q in path])
    rows = path if part["space"].startswith("joint") else poses
    if part in ABSOLUTE:
        return rows
    before = rows[:-1] if part["relative_to"] == "previous_step" else rows[:1]
    after = rows[1:] if part["relative_to"] == "previous_step" else rows
    return after - before if rows is path else tool_steps.between(before, after, part["frame"])
