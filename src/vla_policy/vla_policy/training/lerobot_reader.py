"""Read a LeRobot dataset v3.0 from disk: numbers by column, pictures by time, action chunks by episode."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import UnknownNameError
from vla_core.types import UInt8
from vla_policy.training import lerobot_format as layout
from vla_policy.training.lerobot_format import DatasetError, Feature
from vla_policy.training.lerobot_table import DataFile, pixels
from vla_policy.training.lerobot_video import VideoFile

_OPEN_FILES = 16
_ROW_GROUPS = 8
_AGAIN = "copy or write the data set again"
Indices = Sequence[int] | NDArray[np.integer[Any]]


class LeRobotDataset:
    """A folder in LeRobot v3.0 format, its frames counted from 0 over all episodes.

    Columns of numbers stay in memory once they were asked for; pictures are read when asked for. Not for several
    threads at once.

    Attributes:
        info: `meta/info.json`.
        tasks: By `task_index`.
        episodes: In order.
    """

    def __init__(self, folder: Path, tolerance_s: float = 1e-4) -> None:
        """Open a folder and check that all files are there and as long as they should be.

        Args:
            tolerance_s: How far a frame of a video may lie from the time stamp in the table (LeRobot's default).

        Raises:
            DatasetError: not LeRobot v3.0, incomplete or broken.
        """
        self.folder, self.tolerance_s = folder, tolerance_s
        self.info = layout.read_info(folder)
        self.tasks = layout.read_tasks(folder)
        self.episodes = layout.read_episodes(folder, self.info)
        self._starts = np.array([e.start for e in self.episodes], np.int64)
        self._stops = np.array([e.stop for e in self.episodes], np.int64)
        self._tables = _data_files(self)
        self._columns: dict[str, NDArray[Any]] = {}
        self._videos: OrderedDict[Path, VideoFile] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int, int], list[Any]] = OrderedDict()
        self._check_videos()

    def __len__(self) -> int:
        return self.info.total_frames

    def __enter__(self) -> LeRobotDataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.info.fps

    @property
    def features(self) -> Mapping[str, Feature]:
        """What a frame holds, by name."""
        return self.info.features

    def close(self) -> None:
        """Close all files; the data set may still be used."""
        while self._videos:
            self._videos.popitem()[1].close()
        self._groups.clear()

    def episode_of(self, indices: Indices) -> NDArray[np.int64]:
        """Episode numbers (N,) of frames (N,).

        Raises:
            DatasetError: a frame doesn't exist.
        """
        frames = np.asarray(indices, np.int64)
        if len(frames) and not 0 <= frames.min() <= frames.max() < len(self):
            got = f"frame {frames.min()} or {frames.max()} of {self.folder.name}"
            raise DatasetError(got, f"0 to {len(self) - 1}", "ask for frames that exist")
        return np.searchsorted(self._starts, frames, side="right") - 1

    def column(self, name: str) -> NDArray[Any]:
        """A feature of all frames: (N,) where its shape is (1,), else (N, *shape); object (N,) for texts.

        Raises:
            UnknownNameError: no such feature.
            DatasetError: pictures, or a column that isn't what info.json says.
        """
        feature = self._feature(name)
        if feature.is_picture:
            raise DatasetError(f"column {name} of type {feature.dtype}", "numbers", "read it with images()")
        if name not in self._columns:
            parts = [t.numbers(name, feature) for t in self._tables]
            self._columns[name] = np.concatenate(parts) if parts else np.zeros((0, *feature.shape))
        return self._columns[name]

    def rows(self, indices: Indices, columns: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Several features of frames (N,), each as in `column`."""
        self.episode_of(indices)
        return {name: self.column(name)[np.asarray(indices, np.int64)] for name in columns}

    def instructions(self, indices: Indices) -> list[str]:
        """The task of each frame."""
        return [self.tasks[task] for task in self.rows(indices, ["task_index"])["task_index"]]

    def chunk(self, indices: Indices, key: str, horizon: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """What follows each frame: row i of a chunk is the feature of i frames later.

        Args:
            indices: Frames (N,).
            key: Feature, most often 'action'.
            horizon: Steps T.

        Returns:
            Chunks (N,T,…), and bool (N,T): known. Behind an episode's end its last row is repeated and not known.
        """
        steps = np.asarray(indices, np.int64)[:, None] + np.arange(horizon)
        stops = self._stops[self.episode_of(indices)][:, None]
        return self.column(key)[np.minimum(steps, stops - 1)], steps < stops

    def images(self, indices: Indices, key: str) -> UInt8:
        """Pictures uint8 (N,H,W,3) of frames (N,); of a video by their time stamps.

        Raises:
            UnknownNameError: no such feature.
            DatasetError: no colour pictures, a frame is missing, or a file is broken.
        """
        feature = self._feature(key)
        size = feature.size(key)
        frames = np.asarray(indices, np.int64)
        episodes = self.episode_of(frames)
        out = np.empty((len(frames), *size, 3), np.uint8)
        if feature.dtype == "image":
            for place in np.argsort(frames, kind="stable"):
                out[place] = self._embedded(int(frames[place]), key, size)
            return out
        spans = [self.episodes[e].videos[key] for e in episodes]
        times = np.array([s.from_s for s in spans]) + self.rows(frames, ["timestamp"])["timestamp"].astype(np.float64)
        order = sorted(range(len(frames)), key=lambda i: (spans[i].chunk, spans[i].file, times[i]))
        start = 0
        for stop in range(1, len(order) + 1):
            span = spans[order[start]]
            if stop < len(order) and (spans[order[stop]].chunk, spans[order[stop]].file) == (span.chunk, span.file):
                continue
            places, start = order[start:stop], stop
            video = self._video(self.video_path(key, span.chunk, span.file), size)
            for place, picture in zip(places, video.frames(times[places].tolist(), self.tolerance_s), strict=True):
                out[place] = picture
        return out

    def video_path(self, key: str, chunk: int, file: int) -> Path:
        """One of a camera's files."""
        return self.folder / self.info.video_path.format(video_key=key, chunk_index=chunk, file_index=file)

    def frames_decoded(self) -> int:
        """By the video files that are open: what random access costs."""
        return sum(video.decoded for video in self._videos.values())

    def _feature(self, name: str) -> Feature:
        if name not in self.features:
            raise UnknownNameError("feature", name, self.features)
        return self.features[name]

    def _video(self, path: Path, size: tuple[int, int]) -> VideoFile:
        if path not in self._videos:
            self._videos[path] = VideoFile(path, *size)
            if len(self._videos) > _OPEN_FILES:
                self._videos.popitem(last=False)[1].close()
        self._videos.move_to_end(path)
        return self._videos[path]

    def _embedded(self, frame: int, key: str, size: tuple[int, int]) -> UInt8:
        """A picture that lies in the table."""
        number = int(np.searchsorted([t.start for t in self._tables], frame, side="right")) - 1
        table = self._tables[number]
        group, row = table.group_of(frame)
        place = (key, number, group)
        if place not in self._groups:
            self._groups[place] = table.group(group, key)
            if len(self._groups) > _ROW_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(place)
        picture = pixels((self._groups[place][row] or {}).get("bytes"))
        if picture is None or picture.shape != (*size, 3):
            got = f"{key} of frame {frame} with {'no picture' if picture is None else picture.shape}"
            raise DatasetError(got, f"a PNG or JPEG of {size[1]} x {size[0]} in the table", _AGAIN)
        return picture

    def _check_videos(self) -> None:
        keys = self.info.keys("video")
        paths = {self.video_path(k, e.videos[k].chunk, e.videos[k].file) for e in self.episodes for k in keys}
        absent = sorted(str(path.relative_to(self.folder)) for path in paths if not path.is_file())
        if absent:
            got = f"{self.folder.name} without {', '.join(absent[:3])} ({len(absent)} files missing)"
            raise DatasetError(got, f"{len(paths)} video files", _AGAIN)


def _data_files(dataset: LeRobotDataset) -> list[DataFile]:
    """All parquet files of the frames, in order."""
    spans: dict[tuple[int, int], list[int]] = {}
    for episode in dataset.episodes:
        span = spans.setdefault(episode.data, [episode.start, episode.start])
        if span[1] != episode.start:
            got = f"episode {episode.index} in file {episode.data}, which ends at frame {span[1]}"
            raise DatasetError(got, "episodes of one file that follow each other", _AGAIN)
        span[1] = episode.stop
    template = dataset.info.data_path
    return [
        DataFile(dataset.folder / template.format(chunk_index=c, file_index=f), start, stop, dataset.features)
        for (c, f), (start, stop) in spans.items()
    ]
