"""Meta-World demonstrations on disk: compressed .npz shards, written whole or not at all, checked when read."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ConfigError
from vla_sim.metaworld.tasks import TASKS

#: Arrays over a shard's N frames: name -> (dtype, axes after N). H, W pixels, T horizon.
FRAME_ARRAYS: dict[str, tuple[str, str]] = {
    "rgb": ("uint8", "HW3"),
    "state": ("float32", "4"),  # tool x y z [m], gripper opening 0..1
    "action": ("float32", "4"),  # what the expert does here, -1..1; the arm may have been pushed elsewhere
    "chunk": ("float32", "T4"),  # what it would do from here on, undisturbed; chunk[:, 0] is action
    "task": ("int32", ""),  # index into tasks and instructions
    "episode": ("int32", ""),  # within its task
    "step": ("int32", ""),  # simulation steps since the reset
    "success": ("uint8", ""),
    "seed": ("int64", ""),
    "disturbance": ("float32", ""),  # scale of the episode's noise
}
STRING_ARRAYS = ("tasks", "instructions")
Shard = dict[str, NDArray[Any]]


def write_shard(path: Path, episodes: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Write some episodes, each with all of FRAME_ARRAYS."""
    columns = {
        name: np.concatenate([e[name] for e in episodes]).astype(dtype) for name, (dtype, _) in FRAME_ARRAYS.items()
    }
    strings = {"tasks": [t.name for t in TASKS], "instructions": [t.instruction for t in TASKS]}
    temporary = path.with_suffix(".tmp.npz")
    arrays: Shard = columns | {name: np.array(values) for name, values in strings.items()}
    np.savez_compressed(temporary, allow_pickle=False, **arrays)
    temporary.rename(path)


def read_shard(path: Path) -> Shard:
    """Read one shard.

    Raises:
        ConfigError: unreadable, an array is missing, or a shape or type differs from FRAME_ARRAYS.
    """
    try:
        with np.load(path) as file:
            shard = {name: file[name] for name in (*FRAME_ARRAYS, *STRING_ARRAYS)}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path.name}: {reason}", "a Meta-World shard", "remove it and generate it again") from error
    count = len(shard["rgb"])
    for name, (dtype, axes) in FRAME_ARRAYS.items():
        array = shard[name]
        fixed = all(not axis.isdigit() or n == int(axis) for axis, n in zip(axes, array.shape[1:], strict=False))
        if array.dtype != np.dtype(dtype) or array.ndim != 1 + len(axes) or len(array) != count or not fixed:
            got = f"{path.name}: {name} {array.dtype}{array.shape}"
            raise ConfigError(got, f"{dtype} (N{''.join(',' + a for a in axes)})", "remove it and generate it again")
    return shard


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder, in order.

    Raises:
        ConfigError: there is none.
    """
    paths = sorted(path for path in folder.glob("shard_*.npz") if not path.name.endswith(".tmp.npz"))
    if not paths:
        raise ConfigError(f"no shard_*.npz in {folder}", "a folder of Meta-World shards", "generate demonstrations")
    return paths
