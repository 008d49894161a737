"""What was seen of one run, ROS-free: the summary, the plot and the video are made from it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vla_core.types import Float64, UInt8


@dataclass(frozen=True, slots=True)
class ChunkTrace:
    """One action chunk as published; `path_m` (T,3) is where it wants the tool, base frame, None in joint space."""

    stamp_ns: int
    path_m: Float64 | None
    inference_s: float
    progress: float
    success_estimate: float
    subtask: str


@dataclass(frozen=True, slots=True)
class ControlSample:
    """One ControlState: measured and wanted joints [rad], torque [N*m], each (J,), and the tool's position (3,) [m]."""

    stamp_ns: int
    q_rad: Float64
    q_target_rad: Float64
    tau_nm: Float64
    tool_m: Float64
    limit_counts: dict[str, int]
    max_jerk: float


@dataclass(frozen=True, slots=True)
class StageTrace:
    """When a stage of the mission began [ns, ROS clock and monotonic]."""

    stage: str
    stamp_ns: int
    monotonic_ns: int


@dataclass(slots=True)
class Recording:
    """Everything in order of arrival.

    Attributes:
        images: Camera → its frames.
        observations_ns: Stamps of the observations.
        starved: Executor's total so far [s], with the stamps of the states that told it.
        rejected: Chunks that the executor refused.
        last_error: Why it refused the last one.
        drops: Source → frames that observation_node counts as dropped.
    """

    images: ImageSpool
    observations_ns: list[int] = field(default_factory=list)
    chunks: list[ChunkTrace] = field(default_factory=list)
    controls: list[ControlSample] = field(default_factory=list)
    stages: list[StageTrace] = field(default_factory=list)
    starved: list[tuple[int, float]] = field(default_factory=list)
    rejected: int = 0
    last_error: str = ""
    clock_ns: int = 0

    def starved_s(self, from_ns: int, to_ns: int) -> float:
        """Time without a fresh chunk in a span of time [s]."""
        stamps = [stamp_ns for stamp_ns, _ in self.starved]
        begin, end = bisect_right(stamps, from_ns) - 1, bisect_right(stamps, to_ns) - 1
        return (self.starved[end][1] if end >= 0 else 0.0) - (self.starved[begin][1] if begin >= 0 else 0.0)

    def chunk_at(self, stamp_ns: int) -> ChunkTrace | None:
        """Chunk that answers the newest observation not after `stamp_ns`."""
        stamps = [chunk.stamp_ns for chunk in self.chunks]
        index = bisect_right(stamps, stamp_ns) - 1
        return self.chunks[index] if index >= 0 else None

    def stage_at(self, stamp_ns: int) -> str:
        """Stage of the mission at `stamp_ns`, empty before the first."""
        name = ""
        for stage in self.stages:
            if stage.stamp_ns <= stamp_ns:
                name = stage.stage
        return name

    def tool_path_m(self, from_ns: int, to_ns: int) -> Float64:
        """Measured tool positions (N,3) in a span of time, base frame."""
        stamps = [sample.stamp_ns for sample in self.controls]
        part = self.controls[bisect_left(stamps, from_ns) : bisect_right(stamps, to_ns)]
        return np.array([sample.tool_m for sample in part]).reshape(-1, 3)


class ImageSpool:
    """RGB images of any number of cameras in one file: minutes of video don't fit into memory.

    When the disk is full, nothing more is kept, and the last eighth is given up: the film of the rest and the results
    need room too.

    Args:
        path: Scratch file, removed by `close`.
        warn: Takes a line, once, when the disk is full.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn, self._full = path, warn, False
        self._file: BinaryIO = path.open("w+b", buffering=0)  # a buffer would fail later, at any call
        self._index: dict[str, dict[int, tuple[int, tuple[int, ...]]]] = {}
        self._end = 0

    def add(self, camera: str, stamp_ns: int, rgb: UInt8) -> None:
        """Append an image, uint8 (H,W,3)."""
        if self._full:
            return
        left = np.ascontiguousarray(rgb).reshape(-1).data
        try:
            self._file.seek(self._end)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._give_room(error)
            return
        self._index.setdefault(camera, {})[stamp_ns] = (self._end, rgb.shape)
        self._end += rgb.nbytes

    def _give_room(self, error: OSError) -> None:
        self._full, self._end = True, self._end * 7 // 8
        with suppress(OSError):  # a device gives nothing back
            self._file.truncate(self._end)
        for camera, images in self._index.items():
            kept = {stamp: at for stamp, at in images.items() if at[0] + int(np.prod(at[1])) <= self._end}
            self._index[camera] = kept
        self._warn(f"no more pictures are recorded, the film ends early: {error.strerror} ({self._path})")

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(self._index)

    def stamps_ns(self, camera: str) -> list[int]:
        """Stamps of a camera's images in order of time."""
        return sorted(self._index.get(camera, {}))

    def at(self, camera: str, stamp_ns: int) -> UInt8 | None:
        """Newest image not after `stamp_ns`, None before the first."""
        stamps = self.stamps_ns(camera)
        index = bisect_right(stamps, stamp_ns) - 1
        return self.read(camera, stamps[index]) if index >= 0 else None

    def read(self, camera: str, stamp_ns: int) -> UInt8:
        """Image by its stamp."""
        offset, shape = self._index[camera][stamp_ns]
        self._file.seek(offset)
        return np.frombuffer(self._file.read(int(np.prod(shape))), np.uint8).reshape(shape)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)
