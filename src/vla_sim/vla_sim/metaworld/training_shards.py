"""Meta-World demonstrations in the layout that policies are trained from (vla_policy.training.shards).

Places of objects are no part of it: those labels stay empty, and presets give their losses no weight.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.errors import ConfigError
from vla_sim.metaworld.shards import FRAME_ARRAYS, Shard, read_shard, shard_paths

_ROLES, _OBJECTS = 6, 1
_CM = 0.01  # an action of 1 moves the tool by 1 cm


def write_training_shards(source: Path, out: Path, contract: Contract) -> None:
    """Write all of `source` to `out`, where shards that lie there already are kept.

    Each task's last episode goes into the last shard, which training holds out.

    Raises:
        ConfigError: no demonstrations, broken ones, or images and chunks that the contract doesn't fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    held = out / "shard_held_out.npz"
    if held.is_file():
        return
    shards = {path: read_shard(path) for path in shard_paths(source)}
    last = {int(t): 0 for shard in shards.values() for t in np.unique(shard["task"])}
    for shard in shards.values():
        for task, episode in {*zip(shard["task"].tolist(), shard["episode"].tolist(), strict=True)}:
            last[task] = max(last[task], episode)
    kept: list[Shard] = []
    for path, shard in shards.items():
        mine = shard["episode"] == np.array([last[int(task)] for task in shard["task"]])
        kept.append(_rows(shard, mine))
        if not mine.all():
            _write(path.name, _rows(shard, ~mine), out / path.name, contract)
    frames = {name: np.concatenate([part[name] for part in kept]) for name in FRAME_ARRAYS}
    _write(held.name, {**kept[0], **frames}, held, contract)


def _rows(shard: Shard, chosen: NDArray[np.bool_]) -> Shard:
    return {name: array[chosen] if name in FRAME_ARRAYS else array for name, array in shard.items()}


def _write(name: str, shard: Shard, target: Path, contract: Contract) -> None:
    camera, count = contract.cameras[0], len(shard["rgb"])
    got = (shard["rgb"].shape[1:3], shard["chunk"].shape[1])
    if got != ((camera.height, camera.width), contract.horizon):
        expected = f"({(camera.height, camera.width)}, {contract.horizon}) as in {contract.name}.yaml"
        raise ConfigError(f"{name} with images and horizon {got}", expected, "generate demonstrations again")
    chunk = shard["chunk"]
    still = np.zeros((*chunk.shape[:2], 3), np.float32)
    arrays = {
        "rgb": shard["rgb"][:, None],
        "state": shard["state"],
        "chunk": np.concatenate([_CM * chunk[..., :3], still, chunk[..., 3:]], -1).astype(np.float32),
        "instruction": shard["task"],
        "progress": np.full(count, np.nan, np.float32),
        "success": shard["success"],
        "role_uv": np.zeros((count, 1, _ROLES, 2), np.float32),
        "role_visible": np.zeros((count, 1, _ROLES), np.uint8),
        "role_xyz": np.zeros((count, _ROLES, 3), np.float32),
        "role_used": np.zeros((count, _ROLES), np.uint8),
        "obj_uv": np.zeros((count, 1, _OBJECTS, 2), np.float32),
        "obj_visible": np.zeros((count, 1, _OBJECTS), np.uint8),
        "obj_xyz": np.zeros((count, _OBJECTS, 3), np.float32),
        "obj_name": np.full((count, _OBJECTS), -1, np.int32),
        "episode": (shard["task"] * 10_000 + shard["episode"]).astype(np.int32),
        "step": shard["step"],
        "family": shard["task"],
        "instructions": shard["instructions"],
        "object_names": np.array(["object"]),
        "families": shard["tasks"],
    }
    temporary = target.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)  # type: ignore[arg-type]  # uncompressed: images are mapped while training
    temporary.rename(target)
