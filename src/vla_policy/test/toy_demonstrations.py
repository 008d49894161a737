"""Toy demonstrations in the shard format: coloured squares, an arm that flies to the one that is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vla_core.contract import Contract
from vla_core.types import Observation

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 230), "yellow": (230, 220, 40)}
NAMES = [f"{colour} cube" for colour in COLOURS]
INSTRUCTIONS = [f"{verb} the {name}" for name in NAMES for verb in ("pick up", "lift")]
SLOTS, ROLES, HALF = 6, 4, 3


def write_shards(folder: Path, contract: Contract, episodes: tuple[int, ...], frames: int, seed: int = 0) -> None:
    """One shard per entry of `episodes`; every second one is compressed."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, count in enumerate(episodes):
        arrays = make_shard(contract, count, frames, np.random.default_rng(seed + number), first_episode=100 * number)
        save = np.savez_compressed if number % 2 else np.savez
        save(folder / f"shard_{number:05d}.npz", **arrays)


def make_shard(
    contract: Contract, episodes: int, frames: int, rng: np.random.Generator, first_episode: int = 0
) -> dict[str, Any]:
    """All arrays of one shard."""
    count, views, size, horizon = episodes * frames, len(contract.cameras), contract.cameras[0].width, contract.horizon
    out: dict[str, Any] = {
        "rgb": rng.integers(90, 120, (count, views, size, size, 3), dtype=np.uint8),
        "state": np.zeros((count, len(contract.state_names)), np.float32),
        "chunk": np.zeros((count, horizon, len(contract.action_names)), np.float32),
        "instruction": np.zeros(count, np.int32),
        "progress": np.zeros(count, np.float32),
        "success": np.zeros(count, np.uint8),
        "role_uv": np.full((count, views, ROLES, 2), np.nan, np.float32),
        "role_visible": np.zeros((count, views, ROLES), np.uint8),
        "role_xyz": np.zeros((count, ROLES, 3), np.float32),
        "role_used": np.zeros((count, ROLES), np.uint8),
        "obj_uv": np.full((count, views, SLOTS, 2), np.nan, np.float32),
        "obj_visible": np.zeros((count, views, SLOTS), np.uint8),
        "obj_xyz": np.zeros((count, SLOTS, 3), np.float32),
        "obj_name": np.full((count, SLOTS), -1, np.int32),
        "episode": (np.repeat(np.arange(episodes), frames) + first_episode).astype(np.int32),
        "step": np.tile(np.arange(frames), episodes).astype(np.int32),
        "family": np.zeros(count, np.int32),
        "instructions": np.array(INSTRUCTIONS),
        "object_names": np.array(NAMES),
        "families": np.array(["pick"]),
    }
    for row in range(count):
        _fill(out, row, out["step"][row] / (frames - 1), contract, rng)
    return out


def _fill(out: dict[str, Any], row: int, progress: float, contract: Contract, rng: np.random.Generator) -> None:
    size = contract.cameras[0].width
    corners = rng.permutation([(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)])[:3]
    places, named = corners + rng.uniform(-0.2, 0.2, (3, 2)), rng.permutation(len(NAMES))[:3]
    for slot, (place, name) in enumerate(zip(places, named, strict=True)):
        out["obj_name"][row, slot] = name
        out["obj_xyz"][row, slot] = (0.5 + 0.2 * place[1], 0.2 * place[0], 0.02)
        out["obj_visible"][row, :, slot] = 1
        for view in range(len(contract.cameras)):
            uv = place if view == 0 else -place
            out["obj_uv"][row, view, slot] = uv
            x, y = ((uv + 1) / 2 * size).round().astype(int)
            out["rgb"][row, view, y - HALF : y + HALF, x - HALF : x + HALF] = list(COLOURS.values())[name]
    wanted = int(rng.integers(3))
    out["instruction"][row] = 2 * named[wanted] + rng.integers(2)
    for key in ("uv", "visible"):
        out[f"role_{key}"][row, :, 0] = out[f"obj_{key}"][row, :, wanted]
    goal = out["obj_xyz"][row, wanted]
    out["role_xyz"][row, 0], out["role_used"][row, 0] = goal, 1
    out["progress"][row], out["success"][row] = progress, progress == 1
    tool = np.array([0.45, 0.0, 0.3]) * (1 - progress) + goal * progress + rng.normal(0, 0.01, 3)
    pose = contract.state_slice("tool_pose")
    out["state"][row, pose] = [*tool, 1, 0, 0, 0]
    out["state"][row, contract.state_slice("gripper_width")] = 0.08 * (1 - progress)
    fraction = (np.arange(contract.horizon) / contract.horizon)[:, None]
    out["chunk"][row] = np.hstack(
        [tool * (1 - fraction) + goal * fraction, np.tile([1, 0, 0, 0, 1 - progress], (contract.horizon, 1))]
    )


def observation(
    contract: Contract, seed: int = 0, instruction: str = "pick up the red cube", **changes: Any
) -> Observation:
    """A toy observation; `changes` replace its fields."""
    shard = make_shard(contract, 1, 2, np.random.default_rng(seed))
    fields: dict[str, Any] = {
        "stamp_ns": 1_000_000_000,
        "instruction": instruction,
        "contract_hash": contract.hash,
        "view_names": contract.view_names,
        "view_valid": np.ones(len(contract.cameras), np.bool_),
        "rgb": shard["rgb"][0],
        "state_names": contract.state_names,
        "state": shard["state"][0],
    }
    return Observation(**fields | changes)
