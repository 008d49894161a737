"""Frames of several episodes in one parquet file, to and from numpy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vla_core.types import UInt8
from vla_policy.training import lerobot_format as layout
from vla_policy.training.lerobot_format import DatasetError, Feature

_AGAIN = "copy or write the data set again"


class DataFile:
    """One parquet file: frames start..stop-1."""

    def __init__(self, path: Path, start: int, stop: int, features: Mapping[str, Feature]) -> None:
        """Look at what it says of itself.

        Raises:
            DatasetError: unreadable, or not the rows and columns that it should hold.
        """
        self.path, self.start, self.stop = path, start, stop
        try:
            self._meta = meta = pq.read_metadata(path)  # kept: parsing that of many row groups takes long
        except (OSError, pa.ArrowException) as error:
            raise _broken(path, error) from error
        names = meta.schema.to_arrow_schema().names
        absent = [key for key, feature in features.items() if feature.dtype != "video" and key not in names]
        if meta.num_rows != stop - start or absent:
            got = f"{path} with {meta.num_rows} rows, without {absent}" if absent else f"{path}, {meta.num_rows} rows"
            raise DatasetError(got, f"{stop - start} rows with all features of info.json", _AGAIN)
        self._groups = np.cumsum([0, *(meta.row_group(i).num_rows for i in range(meta.num_row_groups))])
        self._checked = False

    def group_of(self, frame: int) -> tuple[int, int]:
        """Row group of a frame, and its row there."""
        group = int(np.searchsorted(self._groups, frame - self.start, side="right")) - 1
        return group, int(frame - self.start - self._groups[group])

    def group(self, number: int, key: str) -> list[Any]:
        """A column of one row group."""
        return list(self._read(key, number).to_pylist())

    def numbers(self, name: str, feature: Feature) -> NDArray[Any]:
        """A column of the whole file.

        Raises:
            DatasetError: it isn't what the feature says, or the file's frames are others.
        """
        if not self._checked:
            index = _numpy(self._read("index"), layout.INDEX_FEATURES["index"], self.path)
            if not np.array_equal(index, np.arange(self.start, self.stop)):
                got = f"{self.path} with frames {index[0]} to {index[-1]}, or not in order"
                raise DatasetError(got, f"{self.start} to {self.stop - 1} in order", _AGAIN)
            self._checked = True
        return _numpy(self._read(name), feature, self.path / name)

    def _read(self, name: str, group: int | None = None) -> pa.ChunkedArray:
        try:
            with pq.ParquetFile(self.path, metadata=self._meta, page_checksum_verification=True) as file:
                table = file.read([name]) if group is None else file.read_row_group(group, [name])
        except (OSError, pa.ArrowException) as error:
            raise _broken(self.path, error) from error
        return table[name]


def _broken(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{path}: {' '.join(str(error).split())[:200]}", "a parquet file", _AGAIN)


def arrow_table(features: Mapping[str, Feature], frames: Mapping[str, NDArray[Any]]) -> pa.Table:
    """Rows of one episode; a video's pictures aren't among them.

    Args:
        features: What a row holds.
        frames: By feature: (N, *shape), or (N,) where the shape is (1,); pictures uint8 (N,H,W,3).
    """
    tables = {key: feature for key, feature in features.items() if feature.dtype != "video"}
    return pa.table({key: _arrow(frames[key], feature) for key, feature in tables.items()})


def _arrow(values: NDArray[Any], feature: Feature) -> pa.Array:
    if feature.dtype == "image":
        names = [f"frame-{number:06d}.png" for number in range(len(values))]
        fields = {"bytes": pa.array([_png(picture) for picture in values], pa.binary()), "path": pa.array(names)}
        return pa.StructArray.from_arrays(list(fields.values()), list(fields))
    array = pa.array(values.ravel().tolist(), pa.string()) if feature.dtype == "string" else pa.array(values.ravel())
    if len(feature.shape) == 1:
        return array if feature.shape == (1,) else pa.FixedSizeListArray.from_arrays(array, feature.shape[0])
    for length in reversed(feature.shape):
        array = pa.ListArray.from_arrays(np.arange(0, len(array) + 1, length, dtype=np.int32), array)
    return array


def _png(picture: UInt8) -> bytes:
    _, content = cv2.imencode(".png", picture[..., ::-1])
    return bytes(content)


def pixels(content: bytes | None) -> UInt8 | None:
    """A PNG or JPEG as uint8 (H,W,3); None where there is none."""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    return None if picture is None else np.asarray(picture[..., ::-1], np.uint8)


def _numpy(column: pa.ChunkedArray, feature: Feature, where: Path) -> NDArray[Any]:
    """A column as numpy, with every list as long as the feature's shape says."""
    shape = () if feature.shape == (1,) else feature.shape
    parts = [_values(chunk, feature, where) for chunk in column.chunks]
    values = np.concatenate(parts) if parts else np.zeros(0)
    if feature.dtype == "string":
        return values.reshape(len(column), *shape).astype(object)
    try:
        wanted = np.dtype(feature.dtype)
        if not np.can_cast(values.dtype, wanted, "same_kind"):
            raise TypeError(f"{values.dtype} in the table")
    except TypeError as error:
        raise DatasetError(f"{where}: {error}", f"{feature.dtype}", "mend its dtype in meta/info.json") from error
    return values.reshape(len(column), *shape).astype(wanted, copy=False)


def _values(array: pa.Array, feature: Feature, where: Path) -> NDArray[Any]:
    """All numbers of a chunk of rows, flat."""
    shape, rows = list(feature.shape), len(array)
    if isinstance(array, pa.ExtensionArray):  # where the datasets library has registered its types
        array = array.storage
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        length = shape.pop(0) if shape else -1
        lengths = array.value_lengths().to_numpy(zero_copy_only=False)
        if array.null_count or (lengths != length).any():
            got = f"{where} with lists of {sorted(set(lengths.tolist()))[:4]}"
            raise DatasetError(got, f"{length} by shape {feature.shape}", "mend the shape in meta/info.json")
        array = array.flatten()
    size = int(np.prod(feature.shape)) if feature.shape != (1,) else 1
    if array.null_count or len(array) != rows * size:
        got = f"{where} with {array.null_count} empty places, {len(array)} values in {rows} rows"
        raise DatasetError(got, f"{rows} x {feature.shape}", "mend the shape in meta/info.json")
    return np.asarray(array.to_numpy(zero_copy_only=False))
