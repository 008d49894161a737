"""Files of a data set that is being written: a new one is begun where one would get too big."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_policy.training import lerobot_format as layout
from vla_policy.training.lerobot_format import Feature, Info
from vla_policy.training.lerobot_video import VideoCodec, VideoEncoder

_MIB = 1024 * 1024


class _Place:
    """Chunk and file number that grow as files get full."""

    def __init__(self, limit_mb: float, files_per_chunk: int) -> None:
        self._limit, self._per_chunk = limit_mb * _MIB, files_per_chunk
        self.number = -1

    @property
    def at(self) -> tuple[int, int]:
        """Chunk and file."""
        return self.number // self._per_chunk, self.number % self._per_chunk

    def full(self, size_bytes: int, count: int, more: int) -> bool:
        """Whether `more` would go beyond the limit where `count` of them take `size_bytes`."""
        return count > 0 and size_bytes * (count + more) / count >= self._limit


class Tables:
    """Parquet files, one row group per write."""

    def __init__(self, template: Path, limit_mb: float, files_per_chunk: int) -> None:
        self._template, self._place = str(template), _Place(limit_mb, files_per_chunk)
        self._writer: Any = None
        self._sink: Any = None
        self._count, self._chosen = 0, False

    def place(self, count: int) -> tuple[int, int]:
        """Chunk and file that the next `count` rows go to."""
        if self._writer is not None and self._place.full(self._sink.tell(), self._count, count):
            self.close()
        if not self._chosen:
            self._place.number += 1
            self._chosen = True
        return self._place.at

    def write(self, table: pa.Table, count: int) -> tuple[int, int]:
        """Append rows; their chunk and file."""
        chunk, file = self.place(count)
        if self._writer is None:
            path = Path(self._template.format(chunk_index=chunk, file_index=file))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = path.open("wb")
            self._writer = pq.ParquetWriter(self._sink, table.schema, compression="snappy", write_page_checksum=True)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._count += count
        return chunk, file

    def close(self) -> None:
        """End the file."""
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
            self._writer, self._sink, self._count, self._chosen = None, None, 0, False


class Films:
    """Video files of one camera."""

    def __init__(self, root: Path, key: str, feature: Feature, info: Info, codec: VideoCodec) -> None:
        self.key, self._template, self._fps, self._codec = key, str(root / layout.VIDEO_PATH), int(info.fps), codec
        self._size = feature.size(key)
        self._place = _Place(info.video_mb, info.files_per_chunk)
        self._encoder: VideoEncoder | None = None

    def append(self, rgb: NDArray[Any]) -> dict[str, Any]:
        """Encode an episode; its columns in the episode table."""
        encoder = self._encoder
        if encoder is not None and self._place.full(encoder.size_bytes, encoder.frames, len(rgb)):
            self.close()
        if self._encoder is None:
            self._place.number += 1
            chunk, file = self._place.at
            path = Path(self._template.format(video_key=self.key, chunk_index=chunk, file_index=file))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._encoder = VideoEncoder(path, self._fps, *self._size, self._codec)
        start = self._encoder.frames
        self._encoder.append(rgb)
        chunk, file = self._place.at
        values = (chunk, file, start / self._fps, self._encoder.frames / self._fps)
        names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        return {f"videos/{self.key}/{name}": value for name, value in zip(names, values, strict=True)}

    def close(self) -> None:
        """End the file."""
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = None
