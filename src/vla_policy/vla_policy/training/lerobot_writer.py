"""Write a LeRobot dataset v3.0, episode by episode."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_policy.training import lerobot_format as layout
from vla_policy.training import lerobot_statistics as statistics
from vla_policy.training.lerobot_files import Films, Tables
from vla_policy.training.lerobot_format import DatasetError, Feature, Info
from vla_policy.training.lerobot_statistics import Statistics
from vla_policy.training.lerobot_table import arrow_table
from vla_policy.training.lerobot_video import PIXELS, VideoCodec

#: Rows of the episode table that are written together.
EPISODES_AT_ONCE = 64
Frames = Mapping[str, NDArray[Any]]


class LeRobotWriter:
    """Writes to `FOLDER.unfinished`, which becomes `FOLDER` when all is there: a data set is whole or isn't one.

    As a context manager it finishes by itself unless an exception leaves it; after one that came between two episodes
    `finish` keeps those that are there.
    """

    def __init__(
        self, folder: Path, fps: int, features: Mapping[str, Feature], robot_type: str = "",
        codec: VideoCodec | None = None, data_mb: float = 100.0, video_mb: float = 200.0, files_per_chunk: int = 1000,
    ) -> None:  # fmt: skip
        """Begin a data set.

        Args:
            folder: Must not exist.
            fps: Frames per second, > 0.
            features: What a frame holds, without the index columns.
            robot_type: Name of the robot.
            codec: Of the videos.
            data_mb, video_mb: A file isn't extended beyond this size [MiB].
            files_per_chunk: Files per chunk-NNN folder.

        Raises:
            DatasetError: the folder exists, or a feature can't be written.
        """
        self.folder, self._root = folder, layout.unfinished_folder(folder)
        self._features, self._codec = dict(features), codec or VideoCodec()
        _check_features(self._features, fps)
        everything = {**self._features, **layout.INDEX_FEATURES}
        self.info = Info(float(fps), everything, robot_type=robot_type, data_mb=data_mb, video_mb=video_mb,
                         files_per_chunk=files_per_chunk)  # fmt: skip
        self._prepare()
        self._tasks: dict[str, int] = {}
        self._totals: dict[str, Statistics] = {}
        self._rows: list[dict[str, Any]] = []
        self._data = Tables(self._root / layout.DATA_PATH, data_mb, files_per_chunk)
        self._meta = Tables(self._root / layout.EPISODES_PATH, data_mb, files_per_chunk)
        self._films = {key: Films(self._root, key, self._features[key], self.info, self._codec)
                       for key in self.info.keys("video")}  # fmt: skip
        self._sound = True

    def __enter__(self) -> LeRobotWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self._close()

    def add_episode(self, frames: Frames, tasks: str | Sequence[str]) -> None:
        """Append an episode.

        Args:
            frames: By feature: (N, *shape) of its dtype, (N,) where the shape is (1,); pictures uint8 (N,H,W,3).
            tasks: What is to be done, in words: for the episode, or for each of its N frames.

        Raises:
            DatasetError: a feature is missing, unknown or of another shape or type, or an observation or action is NaN.
                Nothing of the episode is written then.
        """
        length = _check_frames(self._features, frames)
        texts = [tasks] * length if isinstance(tasks, str) else list(tasks)
        if len(texts) != length:
            raise DatasetError(f"{len(texts)} tasks", f"one text, or {length}", "give one per frame")
        self._sound = False  # until the whole episode is on disk
        start = self.info.total_frames
        numbers = np.array([self._tasks.setdefault(text, len(self._tasks)) for text in texts], np.int64)
        steps = np.arange(length)
        index: dict[str, NDArray[Any]] = {
            "timestamp": (steps / self.info.fps).astype(np.float32),
            "frame_index": steps,
            "index": start + steps,
        }
        index |= {"episode_index": np.full(length, self.info.total_episodes), "task_index": numbers}
        columns: dict[str, NDArray[Any]] = {**frames, **index}
        row: dict[str, Any] = {
            "episode_index": self.info.total_episodes, "tasks": list(dict.fromkeys(texts)), "length": length,
            "dataset_from_index": start, "dataset_to_index": start + length,
        }  # fmt: skip
        chunk, file = self._data.write(arrow_table(self.info.features, columns), length)
        row |= {"data/chunk_index": chunk, "data/file_index": file}
        for film in self._films.values():
            row |= film.append(frames[film.key])
        row |= self._measure(columns)
        self._rows.append(row)
        episodes = self.info.total_episodes + 1
        self.info = replace(
            self.info, total_episodes=episodes, total_frames=start + length, total_tasks=len(self._tasks)
        )
        if len(self._rows) >= EPISODES_AT_ONCE:
            self._write_rows()
        self._sound = True

    def finish(self) -> Path:
        """Write what is left and give the folder its name.

        Raises:
            DatasetError: there is no episode, or one was interrupted while being written.
        """
        if not self._sound or not self.info.total_episodes:
            self._close()
            got = "an episode that wasn't written to its end" if not self._sound else "no episode"
            raise DatasetError(f"{self.folder.name} with {got}", "whole episodes", "write the data set again")
        self._write_rows()
        self._close()
        described = {key: _with_video_info(f, self.info, self._codec) for key, f in self.info.features.items()}
        self.info = replace(self.info, features=described)
        pq.write_table(layout.tasks_table(tuple(self._tasks)), self._root / layout.TASKS)
        finite = {key: total.content() for key, total in self._totals.items() if total.finite}
        _write_json(self._root / layout.STATISTICS, finite)
        _write_json(self._root / layout.INFO, self.info.content())
        (self._root / layout.UNFINISHED).unlink()
        return self._root.rename(self.folder)

    def _prepare(self) -> None:
        if self.folder.exists():
            raise DatasetError(f"{self.folder}, which exists", "a new folder", "remove it, or choose another name")
        marker = self._root / layout.UNFINISHED
        if marker.is_file():
            shutil.rmtree(self._root)  # of a writer that was interrupted
        elif self._root.exists():
            raise DatasetError(f"{self._root}, which exists", "no such folder", "remove or rename it")
        (self._root / "meta").mkdir(parents=True)
        marker.touch()

    def _measure(self, columns: Frames) -> dict[str, Any]:
        """Statistics of an episode, for its row; the totals grow by them."""
        row: dict[str, Any] = {}
        for key, feature in self.info.features.items():
            if feature.dtype == "string":
                continue
            values = np.asarray(columns[key])
            if feature.is_picture:
                part = statistics.of_pictures(values)
            else:
                part = statistics.of_numbers(values.reshape(len(values), *feature.shape))
            self._totals[key] = statistics.merge([self._totals[key], part] if key in self._totals else [part])
            row |= {f"stats/{key}/{name}": value for name, value in part.content().items()}
        return row

    def _write_rows(self) -> None:
        if not self._rows:
            return
        chunk, file = self._meta.place(len(self._rows))
        for row in self._rows:
            row |= {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
        types = {name: _row_type(name, self.info.features) for name in self._rows[0]}
        columns = {name: pa.array([row[name] for row in self._rows], kind) for name, kind in types.items()}
        self._meta.write(pa.table(columns), len(self._rows))
        self._rows = []

    def _close(self) -> None:
        self._data.close()
        self._meta.close()
        for film in self._films.values():
            film.close()


def _check_features(features: Mapping[str, Feature], fps: int) -> None:
    if isinstance(fps, float) or fps <= 0:
        raise DatasetError(f"{fps} frames per second", "a whole number above 0", "choose another rate")
    for key, feature in features.items():
        fix = f"mend feature {key}"
        if "/" in key or key in layout.INDEX_FEATURES:
            raise DatasetError(f"feature '{key}'", f"no '/', and none of {list(layout.INDEX_FEATURES)}", fix)
        if feature.is_picture:
            feature.size(key)
        elif feature.dtype == "string" and feature.shape != (1,):
            raise DatasetError(f"texts {key} of shape {feature.shape}", "(1,)", fix)
        elif feature.dtype != "string" and np.dtype(feature.dtype).kind not in "biuf":
            raise DatasetError(f"feature {key} of type {feature.dtype}", "numbers, texts or pictures", fix)
        if not feature.shape or 0 in feature.shape:
            raise DatasetError(f"feature {key} of shape {feature.shape}", "at least one number, (1,) for one", fix)
        if len(feature.shape) == 1 and feature.names and len(feature.names) != feature.shape[0]:
            raise DatasetError(f"{len(feature.names)} names for {key}", f"{feature.shape[0]}", fix)


def _check_frames(features: Mapping[str, Feature], frames: Frames) -> int:
    """Number of frames of an episode that fits the features."""
    if set(frames) != set(features):
        missing, unknown = sorted({*features} - {*frames}), sorted({*frames} - {*features})
        got = f"an episode without {missing}, with unknown {unknown}"
        raise DatasetError(got, f"{sorted(features)}", "give every feature of the data set")
    length = len(next(iter(frames.values())))
    for key, feature in features.items():
        values, fix = np.asarray(frames[key]), f"mend {key} before it is written"
        shape = (*feature.size(key), 3) if feature.is_picture else () if feature.shape == (1,) else feature.shape
        dtype = "uint8" if feature.is_picture else feature.dtype
        texts = dtype == "string" and values.dtype.kind in "OU"
        if values.shape != (length, *shape) or length == 0 or not (texts or values.dtype == dtype):
            raise DatasetError(f"{key} {values.dtype}{values.shape}", f"{dtype}{(max(length, 1), *shape)}", fix)
        strict = key.startswith((layout.ACTION, "observation.")) and values.dtype.kind == "f"
        if strict and not np.isfinite(values).all():
            raise DatasetError(f"NaN or infinity in {key}", "finite observations and actions", fix)
    return length


def _with_video_info(feature: Feature, info: Info, codec: VideoCodec) -> Feature:
    if feature.dtype != "video":
        return feature
    height, width = feature.size("video")
    seen = {"video.height": height, "video.width": width, "video.channels": 3, "video.fps": int(info.fps),
            "video.codec": {"libx264": "h264", "libsvtav1": "av1"}.get(codec.codec, codec.codec),
            "video.pix_fmt": PIXELS, "has_audio": False, "is_depth_map": False}  # fmt: skip
    return replace(feature, info={**feature.info, **seen})


def _row_type(name: str, features: Mapping[str, Feature]) -> pa.DataType:
    """Type of a column of the episode table."""
    if name == "tasks":
        return pa.list_(pa.string())
    if name.endswith("_timestamp"):
        return pa.float64()
    if not name.startswith("stats/"):
        return pa.int64()
    _, key, part = name.split("/")
    if part == "count":
        return pa.list_(pa.int64())
    kind = pa.float64()
    for _ in features[key].shape:  # pictures have (3,1,1), as many axes as themselves
        kind = pa.list_(kind)
    return kind


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, allow_nan=False), encoding="utf-8")
