"""LeRobot v3.0 on disk: broken folders, tables and videos are refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_samples import FRONT, WRIST, film, pictures, write

from vla_policy.training.lerobot_format import INFO, DatasetError
from vla_policy.training.lerobot_reader import LeRobotDataset


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lerobot") / "toy"
    write(folder, (7, 1, 12, 5))
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    """Of the written data set, to be broken."""
    return Path(shutil.copytree(written, tmp_path / "toy"))


def _edit(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / INFO).read_text())
    (folder / INFO).write_text(json.dumps({k: v for k, v in {**content, **changes}.items() if v is not None}))


def _edit_feature(folder: Path, key: str, **changes: Any) -> None:
    features = json.loads((folder / INFO).read_text())["features"]
    features[key] |= changes
    _edit(folder, features=features)


def _cut(path: Path, keep: float = 0.6) -> None:
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def _drop(path: Path, column: str) -> None:
    pq.write_table(pq.read_table(path).drop_columns([column]), path)


def _replace(path: Path, column: str, change: Callable[[list[Any]], list[Any]]) -> None:
    table = pq.read_table(path)
    place = table.column_names.index(column)
    field = table.schema.field(place)
    pq.write_table(table.set_column(place, field, pa.array(change(table[column].to_pylist()), field.type)), path)


DATA, ROWS = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
FILM = f"videos/{FRONT}/chunk-000/file-000.mp4"
#: Fault → what breaks the folder, what the sentence says, and what is read.
BROKEN: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "v2.1": (lambda f: _edit(f, codebase_version="v2.1"), "convert_dataset_v21_to_v30", ""),
    "v2.0": (lambda f: _edit(f, codebase_version="v2.0"), "version v2.0; expected v3.0; fix: convert it with", ""),
    "v4": (lambda f: _edit(f, codebase_version="v4.0"), "version v4.0; expected v3.0; fix: write it as v3.0", ""),
    "no info": (lambda f: (f / INFO).unlink(), "without meta/info.json", ""),
    "no json": (lambda f: _cut(f / INFO), "info.json of LeRobot v3.0", ""),
    "no fps": (lambda f: _edit(f, fps=None), "no key 'fps'", ""),
    "no such rate": (lambda f: _edit(f, fps=0), "0.0 frames per second", ""),
    "no tasks": (lambda f: (f / "meta/tasks.parquet").unlink(), "tasks.parquet", ""),
    "tasks cut": (lambda f: _cut(f / "meta/tasks.parquet"), "tasks.parquet", ""),
    "no episodes": (lambda f: (f / ROWS).unlink(), "0 episodes in toy/meta/episodes; expected 4", ""),
    "episodes cut": (lambda f: _cut(f / ROWS), "a parquet file", ""),
    "more episodes": (lambda f: _edit(f, total_episodes=5), "4 episodes in toy/meta/episodes; expected 5", ""),
    "more frames": (lambda f: _edit(f, total_frames=30), "25 frames in toy/meta/episodes; expected 30", ""),
    "episode twice": (
        lambda f: _replace(f / ROWS, "episode_index", lambda v: [0, 1, 1, 3]),
        "expected episode 2 from frame 8 on",
        "",
    ),
    "no video times": (lambda f: _drop(f / ROWS, f"videos/{FRONT}/from_timestamp"), "from_timestamp", ""),
    "video times empty": (
        lambda f: _replace(f / ROWS, f"videos/{FRONT}/from_timestamp", lambda v: [None, *v[1:]]),
        "empty places",
        "",
    ),
    "no data": (lambda f: (f / DATA).unlink(), "file-000.parquet", ""),
    "data cut": (lambda f: _cut(f / DATA), "a parquet file", ""),
    "rows missing": (lambda f: pq.write_table(pq.read_table(f / DATA)[:20], f / DATA), "20 rows; expected 25 rows", ""),
    "no column": (lambda f: _drop(f / DATA, "action"), r"without \['action'\]", ""),
    "rows in disorder": (
        lambda f: _replace(f / DATA, "index", lambda v: v[::-1]),
        "not in order; expected 0 to 24",
        "action",
    ),
    "other shape": (lambda f: _edit_feature(f, "action", shape=[3]), r"lists of \[2\]; expected 3 by shape", "action"),
    "other type": (
        lambda f: _edit_feature(f, "action", dtype="int64"),
        "float32 in the table; expected int64",
        "action",
    ),
    "hole": (lambda f: _replace(f / DATA, "count", lambda v: [None, *v[1:]]), "1 empty places", "count"),
    "no picture": (lambda f: _replace(f / DATA, WRIST, lambda v: [None, *v[1:]]), "with no picture", WRIST),
    "other picture": (lambda f: _edit_feature(f, WRIST, shape=[18, 20, 3]), "PNG or JPEG of 20 x 18", WRIST),
    "depth": (lambda f: _edit_feature(f, WRIST, info={"is_depth_map": True}), "colour pictures", WRIST),
    "no video": (lambda f: (f / FILM).unlink(), "file-000.mp4 .1 files missing", ""),
    "video cut": (lambda f: _cut(f / FILM), "a video", FRONT),
    "video shorter": (lambda f: film(f / FILM, pictures(np.arange(20))), "the video ends before", FRONT),
    "video of other size": (lambda f: film(f / FILM, pictures(np.arange(25), 16, 16)), "48 x 32 pixels", FRONT),
    "video at other times": (
        lambda f: _edit_feature(f, "timestamp", dtype="float64") or _shift(f),
        "within 0.0001",
        FRONT,
    ),
}


def _shift(folder: Path) -> None:
    _replace(folder / DATA, "timestamp", lambda v: [t + 0.03 for t in v])


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_folders_are_refused_in_a_sentence(copy: Path, fault: str) -> None:
    spoil, match, key = BROKEN[fault]
    spoil(copy)
    with pytest.raises(DatasetError, match=match) as caught:
        dataset = LeRobotDataset(copy)
        assert key, "opened although it is broken"
        frames = range(len(dataset))
        dataset.images(frames, key) if dataset.features[key].is_picture else dataset.rows(frames, [key])
    assert "; expected " in str(caught.value) and "; fix: " in str(caught.value)


def test_a_hole_in_a_video_is_refused(copy: Path) -> None:
    """As a copy that was broken off and filled up leaves it. A flipped bit within a frame often goes unnoticed."""
    whole = bytearray((copy / FILM).read_bytes())
    start, end = whole.index(b"mdat"), whole.index(b"moov")
    middle = (start + end) // 2
    whole[middle : end - 8] = bytes(end - 8 - middle)
    (copy / FILM).write_bytes(bytes(whole))
    with pytest.raises(DatasetError, match="a sound video"):
        LeRobotDataset(copy).images(range(25), FRONT)


def test_a_flipped_bit_in_a_table_is_refused(copy: Path) -> None:
    whole = (copy / DATA).read_bytes()
    place = whole.index(LeRobotDataset(copy).column("action").tobytes()[:40])
    (copy / DATA).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(DatasetError, match=r"file-000\.parquet: .*(CRC|checksum)"):
        LeRobotDataset(copy).column("action")
