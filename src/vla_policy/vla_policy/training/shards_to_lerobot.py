"""Demonstration shards to LeRobot v3.0 and back.

Pictures become `observation.images.CAMERA`, the state `observation.state`, the instruction the task, and every other
array of a shard `label.NAME`. `action` is the command that holds from a frame to the next one, as in recordings of
teleoperation: the step of the frame's own chunk that is meant for the next frame. `label.chunk` keeps the whole chunk,
which the actions of the frames that follow can't replace: the expert was disturbed on its way, its chunks weren't.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.contract import Contract
from vla_core.errors import ConfigError
from vla_policy.training.lerobot_contract import LABEL, match_contract, state_units
from vla_policy.training.lerobot_format import ACTION, IMAGES, OBSERVATION_STATE, DatasetError, Feature
from vla_policy.training.lerobot_reader import LeRobotDataset
from vla_policy.training.lerobot_video import VideoCodec
from vla_policy.training.lerobot_writer import LeRobotWriter
from vla_policy.training.shards import FRAME_ARRAYS, Shard, open_shards

#: Arrays of a shard that become labels, and those of them that count in a list of names.
_LABELS = tuple(name for name in FRAME_ARRAYS if name not in ("rgb", "state", "instruction"))
_NAMED = {"obj_name": "object_names", "family": "families"}
Say = Callable[[str], None]


def shards_to_lerobot(
    source: Path, target: Path, contract: Contract, frame_steps: int, pictures: str = "video",
    codec: VideoCodec | None = None, say: Say = print,
) -> dict[str, int]:  # fmt: skip
    """Convert a folder of shards; a still is an episode of one frame.

    Args:
        source: Folder with shard_*.npz.
        target: New folder.
        contract: That the shards were made for.
        frame_steps: Steps of a chunk between two frames.
        pictures: 'video', or 'image' for PNG: nothing is lost then, in ten times the space.
        codec: Of the videos.
        say: Told about progress.

    Returns:
        Counts of episodes, frames and tasks.

    Raises:
        ConfigError: no shards or broken ones.
        DatasetError: the shards don't fit the contract, or the target exists.
    """
    shards = open_shards(source)
    fps = contract.action_rate_hz / frame_steps if frame_steps > 0 else 0.0
    if not 0 < frame_steps < contract.horizon or not fps.is_integer():
        expected = f"1 to {contract.horizon - 1}, with a whole number of frames per second"
        raise ConfigError(f"{frame_steps} steps of a chunk per frame", expected, "choose another frame rate")
    for shard in shards:
        _check_shard(shard, contract)
    names = {label: sorted({n for s in shards for n in s.strings[kind]}) for label, kind in _NAMED.items()}
    features = _features(shards[0], contract, names, pictures)
    with LeRobotWriter(target, int(fps), features, contract.robot, codec) as writer:
        for number, shard in enumerate(shards, 1):
            frames = _frames(shard, contract, frame_steps, names)
            texts = [shard.strings["instructions"][i] for i in shard.frames["instruction"]]
            for rows in _episodes(shard):
                rgb = {IMAGES + camera: shard.rgb[rows, view] for view, camera in enumerate(contract.view_names)}
                writer.add_episode({**rgb, **{key: values[rows] for key, values in frames.items()}}, texts[rows])
            say(f"{number}/{len(shards)} shards, {writer.info.total_frames} frames")
    info = writer.info
    return {"episodes": info.total_episodes, "frames": info.total_frames, "tasks": info.total_tasks}


def _check_shard(shard: Shard, contract: Contract) -> None:
    got = shard.rgb.shape[1:], shard.frames["state"].shape[1:], shard.frames["chunk"].shape[1:]
    expected = contract.rgb_shape, (len(contract.state_names),), (contract.horizon, len(contract.action_names))
    if got != expected:
        fix = "give the contract that the shards were made for"
        raise DatasetError(f"{shard.path.name} with (images, state, chunk) {got}", f"{expected}", fix)


def _features(shard: Shard, contract: Contract, names: dict[str, list[str]], pictures: str) -> dict[str, Feature]:
    axes = ("height", "width", "channels")
    out = {IMAGES + camera.name: Feature(pictures, (camera.height, camera.width, 3), axes)
           for camera in contract.cameras}  # fmt: skip
    state, action = contract.state_names, contract.action_names
    out[OBSERVATION_STATE] = Feature("float32", (len(state),), state, {"units": state_units(contract)})
    out[ACTION] = Feature("float32", (len(action),), action, {"units": list(contract.action_units)})
    for name in _LABELS:
        info: dict[str, Any] = {"rate_hz": contract.action_rate_hz} if name == "chunk" else {}
        info |= {"strings": names[name]} if name in names else {}
        array = shard.frames[name]
        out[LABEL + name] = Feature(str(array.dtype), array.shape[1:] or (1,), info=info)
    return out


def _frames(
    shard: Shard, contract: Contract, frame_steps: int, names: dict[str, list[str]]
) -> dict[str, NDArray[Any]]:  # fmt: skip
    labels = {name: shard.frames[name] for name in _LABELS}
    for label, kind in _NAMED.items():
        table = [*(names[label].index(name) for name in shard.strings[kind]), -1]  # -1 stays -1
        labels[label] = np.array(table, labels[label].dtype)[labels[label]]
    action = shard.frames["chunk"][:, frame_steps]
    return {OBSERVATION_STATE: shard.frames["state"], ACTION: action, **{LABEL + n: v for n, v in labels.items()}}


def _episodes(shard: Shard) -> Iterator[slice]:
    """Frames that follow each other in time."""
    episode, step = shard.frames["episode"], shard.frames["step"]
    still = np.isnan(shard.frames["progress"])
    apart = (episode[1:] != episode[:-1]) | (step[1:] != step[:-1] + 1) | still[1:] | still[:-1]
    edges = [0, *(np.flatnonzero(apart) + 1).tolist(), len(shard)]
    return (slice(a, b) for a, b in pairwise(edges) if b > a)


def lerobot_to_shards(
    source: Path, target: Path, contract: Contract, frames_per_shard: int = 1000, say: Say = print
) -> dict[str, int]:
    """Convert a data set with our labels back to shards; every shard is written whole or not at all.

    Args:
        source: Folder in LeRobot v3.0 format.
        target: Folder for shard_*.npz; may hold others.
        contract: That the shards shall be for.
        frames_per_shard: A shard ends with the episode in which it reaches this.
        say: Told about progress.

    Returns:
        Counts of episodes, frames and shards.

    Raises:
        DatasetError: no LeRobot v3.0, it doesn't fit the contract, or bears no labels.
    """
    with LeRobotDataset(source) as dataset:
        match = match_contract(dataset, contract)
        absent = [LABEL + name for name in _LABELS if LABEL + name not in dataset.features]
        if absent or match.chunks != LABEL + "chunk":
            got = f"{source.name} without {absent}" if absent else f"{source.name} with other chunks in {LABEL}chunk"
            fix = "train on it as it is (training/lerobot_demonstrations.py): shards need labels of objects"
            raise DatasetError(got, f"the labels of a shard for {contract.name}", fix)
        target.mkdir(parents=True, exist_ok=True)
        shards, first = 0, 0
        for number, episode in enumerate(dataset.episodes, 1):
            if episode.stop - first < frames_per_shard and number < len(dataset.episodes):
                continue
            path = target / f"shard_{first:08d}_lerobot.npz"
            temporary = path.with_suffix(".tmp.npz")
            np.savez(temporary, **_shard(dataset, np.arange(first, episode.stop), match.state, contract))
            temporary.rename(path)
            shards, first = shards + 1, episode.stop
            say(f"{number}/{len(dataset.episodes)} episodes, {first} frames")
    return {"episodes": len(dataset.episodes), "frames": len(dataset), "shards": shards}


def _shard(
    dataset: LeRobotDataset, frames: NDArray[np.int64], state: NDArray[np.int64], contract: Contract
) -> dict[str, Any]:
    views = [dataset.images(frames, IMAGES + name) for name in contract.view_names]
    arrays: dict[str, Any] = {name: dataset.column(LABEL + name)[frames] for name in _LABELS}
    arrays["rgb"] = np.stack(views, 1) if views else np.zeros((len(frames), *contract.rgb_shape), np.uint8)
    arrays["state"] = dataset.column(OBSERVATION_STATE)[frames][:, state]
    arrays["instruction"] = dataset.column("task_index")[frames].astype(np.int32)
    tables = {kind: dataset.features[LABEL + label].info.get("strings", ()) for label, kind in _NAMED.items()}
    texts = {"instructions": dataset.tasks, **tables}
    return arrays | {name: np.array(list(values), np.str_) for name, values in texts.items()}
