"""Pictures of many episodes in one mp4 file: appended by episode, found again by time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from vla_core.types import UInt8
from vla_policy.training.lerobot_format import DatasetError

#: Every player's; half the resolution in colour.
PIXELS = "yuv420p"
_AGAIN = "copy or write the data set again"


@dataclass(frozen=True, slots=True)
class VideoCodec:
    """How pictures are compressed.

    Attributes:
        codec: Encoder of FFmpeg.
        crf: Constant rate factor; 18 adds about a quarter to what the colour subsampling of yuv420p loses.
        key_frames: At least one in so many: what has to be decoded before a frame at random.
        preset: The encoder's, speed against size.
    """

    codec: str = "libx264"
    crf: int = 18
    key_frames: int = 10
    preset: str = "veryfast"


class VideoEncoder:
    """One file; every call of `append` adds an episode, which begins with a key frame.

    Attributes:
        frames: In the file so far.
        size_bytes: Handed to the file so far.
    """

    def __init__(self, path: Path, fps: int, height: int, width: int, codec: VideoCodec) -> None:
        """Begin a file.

        Raises:
            DatasetError: a side is odd, which yuv420p can't hold.
        """
        if height % 2 or width % 2:
            fix = "store them with dtype 'image', or crop them"
            raise DatasetError(f"pictures of {width} x {height} for a video", "even sides", fix)
        self.frames = self.size_bytes = 0
        self._container = _opened(path, "w")
        options = {"crf": str(codec.crf), "preset": codec.preset, "g": str(codec.key_frames)}
        # B-frames would delay the first time stamp of the file
        options |= {"bf": "0"} if codec.codec == "libx264" else {}
        self._stream = self._container.add_stream(codec.codec, rate=fps, options=options)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, PIXELS

    def append(self, rgb: UInt8) -> None:
        """Encode pictures uint8 (N,H,W,3)."""
        for number, picture in enumerate(rgb):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts = self.frames
            if number == 0:
                frame.pict_type = av.video.frame.PictureType.I
            self._mux(frame)
            self.frames += 1

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        self._mux(None)
        self._container.close()

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self.size_bytes += packet.size
            self._container.mux(packet)


class VideoFile:
    """Frames of one file by time. Goes on decoding where it stands, and seeks only when a key frame is nearer.

    Attributes:
        decoded: Frames decoded since it was opened.
    """

    def __init__(self, path: Path, height: int, width: int) -> None:
        """Open a file.

        Raises:
            DatasetError: missing, no video, or pictures of another size.
        """
        self.path, self.decoded = path, 0
        try:
            self._container = _opened(path, "r")
            self._stream = self._container.streams.video[0]
        except (OSError, IndexError, av.FFmpegError) as error:
            raise DatasetError(f"{path}: {_reason(error)}", "a video", _AGAIN) from error
        if (self._stream.height, self._stream.width) != (height, width):
            got = f"{path} of {self._stream.width} x {self._stream.height}"
            self._container.close()
            raise DatasetError(got, f"{width} x {height} pixels by info.json", _AGAIN)
        self._stream.codec_context.options = {"err_detect": "explode"}  # rather than a picture made up
        self._tick_s = float(self._stream.time_base)
        index = list(self._stream.index_entries)  # in decoding order, which B-frames put ahead of the frames' own times
        shift = (self._stream.start_time or 0) - (index[0].timestamp if index else 0)
        self._keys: list[int] = sorted(entry.timestamp + shift for entry in index if entry.is_keyframe) or [0]
        self._step_ticks = 1.0 / float(self._stream.average_rate) / self._tick_s
        self._source: Iterator[Any] = iter(())
        self._frame: Any = None  # the one decoded last

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def frames(self, times_s: Sequence[float], tolerance_s: float) -> Iterator[UInt8]:
        """Pictures uint8 (H,W,3), one per time.

        Args:
            times_s: From the start of the file, ascending: any other order costs a seek per step back.
            tolerance_s: How far a frame may lie from the time asked for.

        Raises:
            DatasetError: there is no frame at one of the times, or the decoder refuses the file. Damage within a frame
                often goes unnoticed: mp4 holds no checksums.
        """
        for time_s in times_s:
            try:
                self._go_to(time_s, tolerance_s)
            except (OSError, av.FFmpegError) as error:
                self._frame = None
                raise DatasetError(
                    f"{self.path} at {time_s:.4f} s: {_reason(error)}", "a sound video", _AGAIN
                ) from error
            if self._frame is None or abs(self._time_s() - time_s) > tolerance_s:
                nearest = "the video ends before" if self._frame is None else f"the next at {self._time_s():.4f} s"
                got = f"{self.path} without a frame at {time_s:.4f} s, {nearest}"
                raise DatasetError(got, f"one within {tolerance_s} s", "check fps and time stamps, or write it again")
            yield self._frame.to_ndarray(format="rgb24")

    def _time_s(self) -> float:
        return float(self._frame.pts) * self._tick_s

    def _go_to(self, time_s: float, tolerance_s: float) -> None:
        """Make `_frame` the first one that isn't before `time_s`; None behind the end."""
        if self._frame is None or time_s < self._time_s() - tolerance_s:
            self._seek(time_s)
        elif self._key_before(time_s + tolerance_s) - self._frame.pts > 1.5 * self._step_ticks:
            self._seek(time_s)  # shorter than to decode what lies between
        while self._frame is not None and self._time_s() < time_s - tolerance_s:
            self._next()

    def _key_before(self, time_s: float) -> int:
        """Time of the last key frame until then [ticks]."""
        return self._keys[max(bisect_right(self._keys, time_s / self._tick_s) - 1, 0)]

    def _seek(self, time_s: float) -> None:
        """To the key frame before `time_s`."""
        self._container.seek(round(time_s / self._tick_s), stream=self._stream, backward=True, any_frame=False)
        self._source = self._container.decode(self._stream)
        self._next()

    def _next(self) -> None:
        self._frame = next(self._source, None)
        if self._frame is not None:
            self.decoded += 1


def _opened(path: Path, mode: Literal["r", "w"]) -> Any:
    return av.open(str(path), mode)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
