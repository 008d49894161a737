"""LeRobot dataset v3.0 on disk: its files, its metadata, and what is wrong with a folder that isn't one.

    meta/info.json                              fps, features, path templates, counts
    meta/stats.json                             statistics of every feature
    meta/tasks.parquet                          task_index, task
    meta/episodes/chunk-000/file-000.parquet    one row per episode: length, tasks, files and places in them
    data/chunk-000/file-000.parquet             one row per frame; several episodes per file
    videos/KEY/chunk-000/file-000.mp4           several episodes per file

Format: huggingface/lerobot 0.6, src/lerobot/datasets/{utils,dataset_metadata,dataset_writer}.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vla_core.errors import VlaError

VERSION = "v3.0"
INFO, STATISTICS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
#: A folder that is being written bears this ending; it loses it when everything is there.
UNFINISHED = ".unfinished"

OBSERVATION_STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
_UPGRADES = {
    "v2.1": "convert it with LeRobot: python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=NAME",
    "v2.0": "convert it with LeRobot 0.3 to v2.1, then with a newer one to v3.0",
}


class DatasetError(VlaError):
    """A data set on disk is missing, broken, of another version or of another contract."""

    code = "dataset"


@dataclass(frozen=True, slots=True)
class Feature:
    """One entry of `features`.

    Attributes:
        dtype: A numpy type such as 'float32', or 'string', 'image' (PNG or JPEG in the table), 'video'.
        shape: Of one frame; () never occurs, a number has (1,).
        names: One per number, or the axes of an image; empty where the data set names nothing.
        info: What else stands there, e.g. the codec of a video.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_picture(self) -> bool:
        return self.dtype in ("image", "video")

    def size(self, key: str) -> tuple[int, int]:
        """Height and width [pixel] of a picture.

        Raises:
            DatasetError: it isn't a colour picture, or its axes aren't named.
        """
        axes = tuple(name.removesuffix("s") for name in self.names)
        if self.is_picture and len(axes) == len(self.shape) == 3 and {*axes} == {"height", "width", "channel"}:
            sizes = dict(zip(axes, self.shape, strict=True))
            if sizes["channel"] == 3 and not self.info.get("is_depth_map"):
                return sizes["height"], sizes["width"]
        got = f"{key} of type {self.dtype} with {self.shape} as {self.names}"
        raise DatasetError(got, "colour pictures with axes height, width, channels", "name its axes in meta/info.json")

    def content(self) -> dict[str, Any]:
        """As it stands in info.json."""
        out = {"dtype": self.dtype, "shape": list(self.shape), "names": list(self.names) or None}
        return out | ({"info": dict(self.info)} if self.info else {})


#: Columns that every data set has beside its own.
INDEX_FEATURES = {
    "timestamp": Feature("float32", (1,)),
    "frame_index": Feature("int64", (1,)),
    "episode_index": Feature("int64", (1,)),
    "index": Feature("int64", (1,)),
    "task_index": Feature("int64", (1,)),
}


@dataclass(frozen=True, slots=True)
class Info:
    """`meta/info.json`.

    Attributes:
        fps: Frames per second.
        features: By name, the index columns among them.
        files_per_chunk: Files in one chunk-NNN folder.
        data_mb, video_mb: Size at which a new file is begun [MiB].
    """

    fps: float
    features: Mapping[str, Feature]
    total_episodes: int = 0
    total_frames: int = 0
    total_tasks: int = 0
    robot_type: str = ""
    files_per_chunk: int = 1000
    data_mb: float = 100.0
    video_mb: float = 200.0
    data_path: str = DATA_PATH
    video_path: str = VIDEO_PATH

    def keys(self, *dtypes: str) -> list[str]:
        """Features of the given types."""
        return [key for key, feature in self.features.items() if feature.dtype in dtypes]

    def content(self) -> dict[str, Any]:
        """As it stands on disk."""
        return {
            "codebase_version": VERSION,
            "robot_type": self.robot_type or None,
            "total_episodes": self.total_episodes,
            "total_frames": self.total_frames,
            "total_tasks": self.total_tasks,
            "chunks_size": self.files_per_chunk,
            "data_files_size_in_mb": self.data_mb,
            "video_files_size_in_mb": self.video_mb,
            "fps": int(self.fps) if float(self.fps).is_integer() else self.fps,
            "splits": {"train": f"0:{self.total_episodes}"},
            "data_path": self.data_path,
            "video_path": self.video_path if self.keys("video") else None,
            "features": {key: feature.content() for key, feature in self.features.items()},
        }


@dataclass(frozen=True, slots=True)
class VideoSpan:
    """Where an episode lies in a video file: chunk and file number, and the time of its first frame [s]."""

    chunk: int
    file: int
    from_s: float


@dataclass(frozen=True, slots=True)
class Episode:
    """One row of `meta/episodes`: frames start..stop-1 of the data set, in which files."""

    index: int
    tasks: tuple[str, ...]
    start: int
    stop: int
    data: tuple[int, int]
    videos: Mapping[str, VideoSpan]


def read_info(folder: Path) -> Info:
    """Read `meta/info.json`.

    Raises:
        DatasetError: there is none, it is of another version, or a key is missing or makes no sense.
    """
    path = folder / INFO
    if not path.is_file():
        got = f"{folder} without {INFO}"
        if unfinished_folder(folder).exists():
            got = f"{folder.name} unfinished: its writer was interrupted"
        raise DatasetError(got, "a LeRobot data set of version v3.0", "write or copy it again")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = str(data["codebase_version"])
        if version != VERSION:
            fix = _UPGRADES.get(version, "write it as v3.0")
            raise DatasetError(f"{folder.name} of LeRobot version {version}", VERSION, fix)
        info = Info(
            fps=float(data["fps"]),
            features={str(key): _feature(value) for key, value in data["features"].items()},
            total_episodes=int(data["total_episodes"]),
            total_frames=int(data["total_frames"]),
            total_tasks=int(data.get("total_tasks", 0)),
            robot_type=str(data.get("robot_type") or ""),
            files_per_chunk=int(data.get("chunks_size", 1000)),
            data_mb=float(data.get("data_files_size_in_mb", 100.0)),
            video_mb=float(data.get("video_files_size_in_mb", 200.0)),
            data_path=str(data["data_path"]),
            video_path=str(data.get("video_path") or VIDEO_PATH),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DatasetError(f"{path}: {reason}", "info.json of LeRobot v3.0", "copy the data set again") from error
    absent = [key for key in INDEX_FEATURES if key not in info.features]
    if info.fps <= 0 or absent:
        got = f"{path}: {info.fps} frames per second, features without {absent}"
        raise DatasetError(got, f"a positive rate and {list(INDEX_FEATURES)}", "copy the data set again")
    return info


def _feature(data: Mapping[str, Any]) -> Feature:
    names = data.get("names") or ()
    if isinstance(names, dict):  # as in {"motors": ["shoulder", …]}
        lists = list(names.values())
        names = [name for part in lists for name in part] if all(isinstance(p, list) for p in lists) else ()
    shape = tuple(int(size) for size in data["shape"])
    return Feature(str(data["dtype"]), shape, tuple(str(n) for n in names), dict(data.get("info") or {}))


def unfinished_folder(folder: Path) -> Path:
    """Where a data set lies while it is being written."""
    return folder.with_name(folder.name + UNFINISHED)


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A parquet file.

    Raises:
        DatasetError: missing, unreadable, or a column is missing.
    """
    try:
        schema = pq.read_schema(path)
        absent = [name for name in columns or [] if name not in schema.names]
        if absent:
            known = f"the columns of LeRobot v3.0, {columns}"
            raise DatasetError(f"{path} without {absent}", known, "copy the data set again")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(columns)
        holed = [name for name in columns or [] if table[name].null_count]
        if holed:
            raise DatasetError(f"{path} with empty places in {holed}", "a value in every row", "write it again")
        return table
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(f"{path}: {reason}", "a parquet file", "copy or write the data set again") from error


def read_tasks(folder: Path) -> tuple[str, ...]:
    """Tasks by their index.

    Raises:
        DatasetError: the file is missing or broken.
    """
    table = read_table(folder / TASKS, None)
    texts = [name for name in table.column_names if name != "task_index"]
    numbers = table["task_index"].to_pylist() if "task_index" in table.column_names else []
    if len(texts) != 1 or sorted(numbers) != list(range(len(numbers))):
        got = f"{TASKS} with columns {table.column_names} and indices {numbers[:5]}…"
        raise DatasetError(got, "one column of texts, task_index from 0", "copy the data set again")
    pairs = zip(numbers, table[texts[0]].to_pylist(), strict=True)
    return tuple(str(text) for _, text in sorted(pairs))


def tasks_table(tasks: tuple[str, ...]) -> pa.Table:
    """What `meta/tasks.parquet` holds; LeRobot reads it with pandas, the text being the index."""
    columns = [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"},
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def read_episodes(folder: Path, info: Info) -> tuple[Episode, ...]:
    """All episodes in order, checked to follow each other without a gap.

    Raises:
        DatasetError: files or columns are missing, or the episodes don't add up to what info.json says.
    """
    videos = info.keys("video")
    columns = ["episode_index", "tasks", "data/chunk_index", "data/file_index", "dataset_from_index"]
    columns += ["dataset_to_index"]
    columns += [f"videos/{key}/{name}" for key in videos for name in ("chunk_index", "file_index", "from_timestamp")]
    paths = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    tables = [read_table(path, columns) for path in paths]
    rows = {name: [value for table in tables for value in table[name].to_pylist()] for name in columns}
    episodes = []
    for row in np.argsort(np.array(rows["episode_index"], np.int64), kind="stable"):
        spans = {
            key: VideoSpan(
                int(rows[f"videos/{key}/chunk_index"][row]),
                int(rows[f"videos/{key}/file_index"][row]),
                float(rows[f"videos/{key}/from_timestamp"][row]),
            )
            for key in videos
        }
        start, stop = int(rows["dataset_from_index"][row]), int(rows["dataset_to_index"][row])
        data = int(rows["data/chunk_index"][row]), int(rows["data/file_index"][row])
        tasks = tuple(str(task) for task in rows["tasks"][row])
        episodes.append(Episode(int(rows["episode_index"][row]), tasks, start, stop, data, spans))
    _check_episodes(folder, info, episodes)
    return tuple(episodes)


def _check_episodes(folder: Path, info: Info, episodes: list[Episode]) -> None:
    fix = "copy the data set again"
    if len(episodes) != info.total_episodes:
        raise DatasetError(f"{len(episodes)} episodes in {folder.name}/meta/episodes", f"{info.total_episodes}", fix)
    expected = 0
    for number, episode in enumerate(episodes):
        if episode.index != number or episode.start != expected or episode.stop <= episode.start:
            got = f"episode {episode.index} with frames {episode.start} to {episode.stop}"
            raise DatasetError(got, f"episode {number} from frame {expected} on", fix)
        expected = episode.stop
    if expected != info.total_frames:
        raise DatasetError(f"{expected} frames in {folder.name}/meta/episodes", f"{info.total_frames}", fix)
