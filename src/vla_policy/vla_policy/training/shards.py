"""Read demonstration shards (.npz) without holding the images in memory."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from vla_core.errors import ConfigError

#: Arrays over N frames: name -> (dtype, shape after N). V views, S state, T horizon, A actions, R roles, K objects.
FRAME_ARRAYS: dict[str, tuple[str, str]] = {
    "rgb": ("uint8", "VHW3"),
    "state": ("float32", "S"),
    "chunk": ("float32", "TA"),
    "instruction": ("int32", ""),
    "progress": ("float32", ""),
    "success": ("uint8", ""),
    "role_uv": ("float32", "VR2"),
    "role_visible": ("uint8", "VR"),
    "role_xyz": ("float32", "R3"),
    "role_used": ("uint8", "R"),
    "obj_uv": ("float32", "VK2"),
    "obj_visible": ("uint8", "VK"),
    "obj_xyz": ("float32", "K3"),
    "obj_name": ("int32", "K"),
    "episode": ("int32", ""),
    "step": ("int32", ""),
    "family": ("int32", ""),
}
STRING_ARRAYS = ("instructions", "object_names", "families")


def map_member(path: Path, name: str, scratch: Path) -> NDArray[Any]:
    """Array `name` of an .npz file as a read-only memory map.

    A stored member is mapped in place; a compressed one is unpacked once to `scratch`.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        if info.compress_type == zipfile.ZIP_STORED:
            return _map_stored(path, info)
        target = scratch / f"{path.stem}.{name}.npy"
        if not target.is_file() or target.stat().st_size != info.file_size:
            scratch.mkdir(parents=True, exist_ok=True)
            archive.extract(info, scratch)
            (scratch / info.filename).rename(target)
    mapped: NDArray[Any] = np.load(target, mmap_mode="r")
    return mapped


def _map_stored(path: Path, info: zipfile.ZipInfo) -> NDArray[Any]:
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)  # local file header: the lengths of name and extra field stand at byte 26
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        file.seek(info.header_offset + 30 + name_length + extra_length)
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        order = "F" if fortran else "C"
        return np.memmap(path, dtype=dtype, mode="r", offset=file.tell(), shape=shape, order=order)


class Shard:
    """One .npz file: images mapped, everything else in memory, checked against FRAME_ARRAYS."""

    def __init__(self, path: Path) -> None:
        """Open a shard.

        Raises:
            ConfigError: unreadable, an array is missing, or a shape or type differs from FRAME_ARRAYS.
        """
        self.path = path
        try:
            self.rgb = map_member(path, "rgb", path.parent / "unpacked")
            with np.load(path) as file:
                self.frames: dict[str, NDArray[Any]] = {n: file[n] for n in FRAME_ARRAYS if n != "rgb"}
                self.strings: dict[str, list[str]] = {n: [str(s) for s in file[n]] for n in STRING_ARRAYS}
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{path.name}: {reason}", "a demonstration shard", "write the data set again") from error
        self._check()

    def __len__(self) -> int:
        return len(self.rgb)

    def _check(self) -> None:
        sizes: dict[str, int] = {"2": 2, "3": 3}
        for name, (dtype, axes) in FRAME_ARRAYS.items():
            array = self.rgb if name == "rgb" else self.frames[name]
            wrong = array.dtype != np.dtype(dtype) or array.ndim != 1 + len(axes) or len(array) != len(self.rgb)
            if not wrong:
                shape = dict(zip(axes, array.shape[1:], strict=True))
                wrong = any(sizes.setdefault(axis, size) != size for axis, size in shape.items())
            if wrong:
                got = f"{self.path.name}: {name} {array.dtype}{array.shape}"
                raise ConfigError(got, f"{dtype} (N,{','.join(axes)})", "write the data set again")
        for name, strings in (("instruction", "instructions"), ("family", "families"), ("obj_name", "object_names")):
            if len(self) and self.frames[name].max() >= len(self.strings[strings]):
                raise ConfigError(f"{self.path.name}: {name} beyond {strings}", "indices", "write the data set again")


def open_shards(folder: Path) -> list[Shard]:
    """All shards of a folder, in order.

    Raises:
        ConfigError: there is none, or one is broken.
    """
    paths = sorted(folder.glob("shard_*.npz"))
    if not paths:
        raise ConfigError(f"no shard_*.npz in {folder}", "a folder of demonstration shards", "generate data first")
    return [Shard(path) for path in paths]
