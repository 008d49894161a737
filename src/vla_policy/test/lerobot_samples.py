"""Small LeRobot data sets: arrays to write, and a folder written by hand as LeRobot itself lays it out."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_policy.training.lerobot_format import Feature
from vla_policy.training.lerobot_writer import LeRobotWriter

AXES = ("height", "width", "channels")
FRONT, WRIST = "observation.images.front", "observation.images.wrist"
FEATURES = {
    FRONT: Feature("video", (32, 48, 3), AXES),
    WRIST: Feature("image", (18, 16, 3), AXES),
    "observation.state": Feature("float32", (3,), ("a", "b", "c")),
    "action": Feature("float32", (2,), ("x", "y"), {"units": ["m", "rad"]}),
    "label.chunk": Feature("float32", (4, 2)),
    "label.uv": Feature("float32", (2, 3, 2)),
    "next.success": Feature("bool", (1,)),
    "count": Feature("uint8", (1,)),
    "remark": Feature("string", (1,)),
}


def pictures(numbers: NDArray[np.int64], height: int = 32, width: int = 48) -> NDArray[np.uint8]:
    """Smooth pictures that tell frames apart: a bright bar that moves, a shade that grows."""
    y, x = np.mgrid[:height, :width]
    out = np.empty((len(numbers), height, width, 3), np.uint8)
    for place, number in enumerate(numbers):
        bar = 200.0 * np.exp(-(((x - number * 7 % width) / 6.0) ** 2))
        out[place] = np.stack([bar, y * 120 / height + 40, np.full_like(bar, 30 + number * 11 % 200)], -1)
    return out


def episode(length: int, seed: int, first: int = 0) -> dict[str, NDArray[Any]]:
    """Frames of one episode of FEATURES."""
    rng = np.random.default_rng(seed)
    out: dict[str, NDArray[Any]] = {
        key: rng.normal(3.0, 2.0, (length, *feature.shape)).astype(np.float32)
        for key, feature in FEATURES.items()
        if feature.dtype == "float32"
    }
    out[FRONT] = pictures(np.arange(first, first + length))
    out[WRIST] = rng.integers(0, 256, (length, 18, 16, 3), dtype=np.uint8)
    out["next.success"] = np.arange(length) == length - 1
    out["count"] = rng.integers(0, 256, length, dtype=np.uint8)
    out["remark"] = np.array([f"frame {i} of {seed}, 日本" for i in range(length)], object)
    return out


def write(folder: Path, lengths: tuple[int, ...], **options: Any) -> list[dict[str, NDArray[Any]]]:
    """A data set of FEATURES; what was written."""
    episodes = [episode(n, seed, sum(lengths[:seed])) for seed, n in enumerate(lengths)]
    with LeRobotWriter(folder, 10, FEATURES, "toy", **options) as writer:
        for number, frames in enumerate(episodes):
            writer.add_episode(frames, f"task {number % 2}")
    return episodes


def together(episodes: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """All episodes' frames."""
    return {key: np.concatenate([e[key] for e in episodes]) for key in episodes[0]}


def by_hand(folder: Path) -> dict[str, NDArray[Any]]:
    """Episodes of 7, 5 and 9 frames, as LeRobot 0.6.1 lays them out; what they hold.

    The first video file holds two episodes and has B-frames, so that its index runs ahead; the second one begins anew.
    """
    lengths, starts = (7, 5, 9), (0, 7, 12)
    rng = np.random.default_rng(5)
    truth = {
        "observation.state": rng.normal(size=(21, 3)).astype(np.float32),
        "action": rng.normal(size=(21, 2)).astype(np.float32),
        "observation.image": rng.integers(0, 256, (21, 18, 16, 3), dtype=np.uint8),
        FRONT: pictures(np.arange(21)),
    }
    for part in ("meta/episodes/chunk-000", "data/chunk-000", f"videos/{FRONT}/chunk-000"):
        (folder / part).mkdir(parents=True)
    index = {name: {"dtype": "int64", "shape": [1], "names": None}
             for name in ("frame_index", "episode_index", "index", "task_index")}  # fmt: skip
    features = {
        "observation.state": {"dtype": "float32", "shape": [3], "names": {"motors": ["a", "b", "c"]}},
        "action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]},
        "observation.image": {"dtype": "image", "shape": [18, 16, 3], "names": ["height", "width", "channel"]},
        FRONT: {"dtype": "video", "shape": [3, 32, 48], "names": ["channels", "height", "width"],
                "info": {"video.fps": 10.0, "video.codec": "h264", "is_depth_map": False}},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        **index,
    }  # fmt: skip
    info = {
        "codebase_version": "v3.0", "robot_type": "toy", "total_episodes": 3, "total_frames": 21, "total_tasks": 2,
        "chunks_size": 1000, "data_files_size_in_mb": 100, "video_files_size_in_mb": 500, "fps": 10,
        "splits": {"train": "0:3"}, "features": features,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }  # fmt: skip
    (folder / "meta/info.json").write_text(json.dumps(info))
    tasks = {"task_index": pa.array([1, 0]), "__index_level_0__": pa.array(["push", "pick"], pa.large_string())}
    pq.write_table(pa.table(tasks), folder / "meta/tasks.parquet")
    rows = {
        "episode_index": pa.array(range(3)),
        "tasks": pa.array([["pick"], ["push"], ["pick"]], pa.list_(pa.string())),
        "length": pa.array(lengths),
        "data/chunk_index": pa.array([0, 0, 0]),
        "data/file_index": pa.array([0, 0, 0]),
        "dataset_from_index": pa.array(starts),
        "dataset_to_index": pa.array([7, 12, 21]),
        f"videos/{FRONT}/chunk_index": pa.array([0, 0, 0]),
        f"videos/{FRONT}/file_index": pa.array([0, 0, 1]),
        f"videos/{FRONT}/from_timestamp": pa.array([0.0, 0.7, 0.0]),
        f"videos/{FRONT}/to_timestamp": pa.array([0.7, 1.2, 0.9]),
        "stats/action/mean": pa.array([[0.0, 0.0]] * 3, pa.list_(pa.float64())),
        "meta/episodes/chunk_index": pa.array([0, 0, 0]),
        "meta/episodes/file_index": pa.array([0, 0, 0]),
    }
    pq.write_table(pa.table(rows), folder / "meta/episodes/chunk-000/file-000.parquet")
    steps = np.concatenate([np.arange(n) for n in lengths])
    png = [{"bytes": cv2.imencode(".png", p[..., ::-1])[1].tobytes(), "path": "frame.png"}
           for p in truth["observation.image"]]  # fmt: skip
    data = {
        "observation.state": pa.array(truth["observation.state"].tolist(), pa.list_(pa.float32())),
        "action": pa.array(truth["action"].tolist(), pa.list_(pa.float32(), 2)),
        "observation.image": pa.array(png, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "timestamp": pa.array((steps / 10).astype(np.float32)),
        "frame_index": pa.array(steps),
        "episode_index": pa.array(np.repeat(np.arange(3), lengths)),
        "index": pa.array(np.arange(21)),
        "task_index": pa.array(np.repeat([0, 1, 0], lengths)),
    }
    pq.write_table(pa.table(data), folder / "data/chunk-000/file-000.parquet", row_group_size=8)
    film(folder / f"videos/{FRONT}/chunk-000/file-000.mp4", truth[FRONT][:12], key_frames=5)
    film(folder / f"videos/{FRONT}/chunk-000/file-001.mp4", truth[FRONT][12:])
    return truth


def film(path: Path, rgb: NDArray[np.uint8], key_frames: int = 12, b_frames: int = 3) -> None:
    """An mp4 by another encoder's habits."""
    with av.open(str(path), "w") as container:
        options = {"crf": "12", "g": str(key_frames), "bf": str(b_frames), "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=Fraction(10), options=options)
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[1:3], "yuv420p"
        for picture in rgb:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
