"""LeRobot v3.0 on disk: what is written is read again, and others' files are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot_samples import FEATURES, FRONT, WRIST, by_hand, episode, film, pictures, together, write
from numpy.typing import NDArray

from vla_core.errors import UnknownNameError
from vla_policy.training import lerobot_writer
from vla_policy.training.lerobot_format import STATISTICS, DatasetError, Feature, unfinished_folder
from vla_policy.training.lerobot_reader import LeRobotDataset
from vla_policy.training.lerobot_video import VideoCodec, VideoEncoder, VideoFile
from vla_policy.training.lerobot_writer import LeRobotWriter

LENGTHS = (7, 1, 12, 5)
NUMBERS = [key for key, feature in FEATURES.items() if not feature.is_picture]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, NDArray[Any]]]:
    folder = tmp_path_factory.mktemp("lerobot") / "toy"
    return folder, together(write(folder, LENGTHS))


def test_numbers_texts_and_png_come_back_exactly(written: tuple[Path, dict[str, NDArray[Any]]]) -> None:
    folder, truth = written
    with LeRobotDataset(folder) as dataset:
        assert (len(dataset), dataset.fps, dataset.tasks) == (25, 10.0, ("task 0", "task 1"))
        assert [(e.start, e.stop, e.tasks) for e in dataset.episodes] == [
            (0, 7, ("task 0",)), (7, 8, ("task 1",)), (8, 20, ("task 0",)), (20, 25, ("task 1",)),
        ]  # fmt: skip
        order = np.random.default_rng(0).permutation(25)
        for key, values in dataset.rows(order, NUMBERS).items():
            np.testing.assert_array_equal(values, truth[key][order])
            assert values.dtype == truth[key].dtype, key
        np.testing.assert_array_equal(dataset.images(order, WRIST), truth[WRIST][order])
        assert dataset.features["action"].info["units"] == ["m", "rad"]
        assert dataset.instructions([6, 7, 8]) == ["task 0", "task 1", "task 0"]
        np.testing.assert_array_equal(dataset.episode_of([0, 6, 7, 24]), [0, 0, 1, 3])


def test_video_loses_little_more_than_its_colour_subsampling(written: tuple[Path, dict[str, NDArray[Any]]]) -> None:
    """Mean error on these pictures [0..255]: 4:2:0 alone 2.2, crf 18 2.5 (at most 0.6 more), a frame off 15."""
    folder, truth = written
    with LeRobotDataset(folder) as dataset:
        got = dataset.images(np.arange(25), FRONT).astype(int)
    halved = [av.VideoFrame.from_ndarray(p, "rgb24").reformat(format="yuv420p").to_ndarray(format="rgb24")
              for p in truth[FRONT]]  # fmt: skip
    bound = np.abs(np.stack(halved).astype(int) - truth[FRONT]).mean((1, 2, 3)) + 1.0
    error = np.abs(got - truth[FRONT]).mean((1, 2, 3))
    assert (error < bound).all(), (error, bound)
    other = np.abs(got[1:] - truth[FRONT][:-1]).mean((1, 2, 3))
    assert (other > 3 * error[1:]).all()  # a frame off by one would be seen


@pytest.fixture(scope="module")
def sequence(foreign: LeRobotDataset) -> NDArray[np.uint8]:
    """Every frame, one after the other."""
    return np.stack([foreign.images([i], FRONT)[0] for i in range(21)])


@settings(max_examples=20)
@given(order=st.lists(st.integers(0, 20), min_size=1, max_size=20))
def test_frames_at_random_are_those_of_the_sequence(
    order: list[int], foreign: LeRobotDataset, sequence: NDArray[np.uint8]
) -> None:
    np.testing.assert_array_equal(foreign.images(order, FRONT), sequence[order])


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> LeRobotDataset:
    folder = tmp_path_factory.mktemp("lerobot") / "foreign"
    by_hand(folder)
    return LeRobotDataset(folder)


def test_a_data_set_laid_out_by_lerobot_is_read(tmp_path: Path) -> None:
    truth = by_hand(tmp_path / "foreign")
    with LeRobotDataset(tmp_path / "foreign") as dataset:
        assert dataset.tasks == ("pick", "push") and dataset.instructions([0, 8]) == ["pick", "push"]
        assert dataset.features["observation.state"].names == ("a", "b", "c")
        for key in ("observation.state", "action"):
            np.testing.assert_array_equal(dataset.column(key), truth[key])
        np.testing.assert_array_equal(dataset.images(range(21), "observation.image"), truth["observation.image"])
        for frame in (20, 11, 12, 0, 7, 6):  # against the order of the file, over its seams
            error = np.abs(dataset.images([frame], FRONT).astype(int) - truth[FRONT]).mean((1, 2, 3))
            assert error.argmin() == frame and error.min() < 2.5


def test_going_on_decodes_every_frame_once_and_a_jump_only_from_its_key_frame(tmp_path: Path) -> None:
    codec = VideoCodec(key_frames=5)
    encoder = VideoEncoder(tmp_path / "a.mp4", 10, 32, 48, codec)
    encoder.append(pictures(np.arange(33)))
    encoder.append(pictures(np.arange(33, 60)))
    encoder.close()
    video = VideoFile(tmp_path / "a.mp4", 32, 48)

    def read(*frames: int) -> int:
        before = video.decoded
        assert len(list(video.frames([frame / 10 for frame in frames], 1e-4))) == len(frames)
        return video.decoded - before

    assert read(*range(60)) == 60  # the decoder goes on over key frames and the seam of episodes
    assert read(58) <= 5 and read(59) == 1 and read(59, 59) == 0
    assert read(3) <= 4 and read(47) <= 5  # far ahead: by its key frame, not through everything between
    assert read(33) == 1  # an episode begins with a key frame
    video.close()
    film(tmp_path / "b.mp4", pictures(np.arange(60)), key_frames=20)  # with B-frames: the index runs two frames ahead
    video = VideoFile(tmp_path / "b.mp4", 32, 48)
    assert read(5, 18, 19) == 20  # no second start from frame 0 just before the key frame
    assert read(20, 39, 50) <= 1 + 19 + 11 and read(2) == 3
    video.close()


def test_a_frame_that_isnt_there_is_an_error(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", pictures(np.arange(20)))
    video = VideoFile(tmp_path / "a.mp4", 32, 48)
    for time_s in (0.05, 1.95, 7.0, -0.1):
        with pytest.raises(DatasetError, match=f"without a frame at {time_s:.4f} s"):
            list(video.frames([time_s], 1e-3))
        assert len(list(video.frames([0.5, 1.9], 1e-3))) == 2  # it can be used after that
    assert len(list(video.frames([0.55], 0.06))) == 1  # a wider tolerance takes the nearest one ahead or behind
    with pytest.raises(DatasetError, match="48 x 32; expected 64 x 32 pixels"):
        VideoFile(tmp_path / "a.mp4", 32, 64)


@settings(max_examples=25)
@given(indices=st.lists(st.integers(0, 20), min_size=1, max_size=8), horizon=st.integers(1, 12))
def test_chunks_stop_at_the_end_of_the_episode(indices: list[int], horizon: int, foreign: LeRobotDataset) -> None:
    action = foreign.column("action")
    chunk, known = foreign.chunk(indices, "action", horizon)
    for row, index in enumerate(indices):
        stop = next(stop for stop in (7, 12, 21) if stop > index)
        for step in range(horizon):
            assert known[row, step] == (index + step < stop)
            np.testing.assert_array_equal(chunk[row, step], action[min(index + step, stop - 1)])


def test_statistics_are_those_of_everything(written: tuple[Path, dict[str, NDArray[Any]]]) -> None:
    folder, truth = written
    told = json.loads((folder / STATISTICS).read_text(), parse_constant=lambda word: pytest.fail(word))
    assert set(told) == {*FEATURES, "timestamp", "frame_index", "episode_index", "index", "task_index"} - {"remark"}
    for key, feature in FEATURES.items():
        if key == "remark":
            continue
        values, axes = truth[key].astype(np.float64), (0,)
        shape: tuple[int, ...] = feature.shape
        if feature.is_picture:
            values, axes, shape = values / 255, (0, 1, 2), (3, 1, 1)
        for name in ("min", "max", "mean", "std"):
            expected = getattr(np, name)(values, axis=axes).reshape(shape)
            assert np.shape(told[key][name]) == shape
            np.testing.assert_allclose(told[key][name], expected, rtol=1e-12, atol=1e-12)
        assert told[key]["count"] == [25]
    rows = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet")
    third = truth["label.chunk"][8:20].astype(np.float64)
    np.testing.assert_allclose(rows["stats/label.chunk/std"][2].as_py(), third.std(0), rtol=1e-12)
    assert np.shape(rows[f"stats/{FRONT}/mean"][0].as_py()) == (3, 1, 1)


def test_labels_may_be_unknown_but_then_have_no_statistics(tmp_path: Path) -> None:
    frames = episode(4, 0)
    frames["label.uv"][1, 0, 0, 0] = np.nan
    with LeRobotWriter(tmp_path / "a", 10, FEATURES) as writer:
        writer.add_episode(frames, "x")
        writer.add_episode(episode(3, 1), "x")
    told = json.loads((tmp_path / "a" / STATISTICS).read_text(), parse_constant=lambda word: pytest.fail(word))
    assert "label.uv" not in told and "label.chunk" in told
    np.testing.assert_array_equal(LeRobotDataset(tmp_path / "a").column("label.uv")[:4], frames["label.uv"])
    frames["action"][0, 0] = np.nan
    with (
        pytest.raises(DatasetError, match="NaN or infinity in action"),
        LeRobotWriter(tmp_path / "b", 10, FEATURES) as w,
    ):
        w.add_episode(frames, "x")


def test_full_files_are_followed_by_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lerobot_writer, "EPISODES_AT_ONCE", 1)
    truth = together(write(tmp_path / "a", (6,) * 12, data_mb=0.03, video_mb=0.001, files_per_chunk=2))
    for kind in ("data", "meta/episodes", f"videos/{FRONT}"):
        files = sorted((tmp_path / "a" / kind).rglob("file-*"))
        assert {path.stem for path in files} == {"file-000", "file-001"}, kind
        assert {path.parent.name for path in files} >= {"chunk-000", "chunk-001"}, kind
    assert all(path.stat().st_size < 0.05 * 2**20 for path in (tmp_path / "a" / "data").rglob("*.parquet"))
    with LeRobotDataset(tmp_path / "a") as dataset:
        np.testing.assert_array_equal(dataset.column("label.uv"), truth["label.uv"])
        order = np.random.default_rng(1).permutation(72)
        np.testing.assert_array_equal(dataset.images(order, WRIST), truth[WRIST][order])
        error = np.abs(dataset.images(order, FRONT).astype(int) - truth[FRONT][order]).mean((1, 2, 3))
        assert error.max() < 3.0


def test_tasks_may_change_within_an_episode(tmp_path: Path) -> None:
    with LeRobotWriter(tmp_path / "a", 10, FEATURES) as writer:
        writer.add_episode(episode(3, 0), ["reach", "reach", "lift"])
        with pytest.raises(DatasetError, match="2 tasks; expected one text, or 3"):
            writer.add_episode(episode(3, 0), ["reach", "lift"])
    dataset = LeRobotDataset(tmp_path / "a")
    assert dataset.instructions(range(3)) == ["reach", "reach", "lift"]
    assert dataset.episodes[0].tasks == ("reach", "lift")


BAD_FRAMES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing": (lambda f: f.pop("action"), r"without \['action'\]"),
    "unknown": (lambda f: f.update(extra=f["count"]), r"with unknown \['extra'\]"),
    "type": (lambda f: f.update(action=f["action"].astype(np.float64)), r"action float64\(4, 2\); expected float32"),
    "shape": (lambda f: f.update(action=f["action"][:, :1]), r"action float32\(4, 1\); expected float32\(4, 2\)"),
    "length": (lambda f: f.update(count=f["count"][:3]), r"count uint8\(3,\); expected uint8\(4,\)"),
    "picture": (
        lambda f: f.update({FRONT: f[FRONT].transpose(0, 3, 1, 2)}),
        r"\(4, 3, 32, 48\); expected uint8\(4, 32",
    ),
}


@pytest.mark.parametrize("fault", BAD_FRAMES)
def test_frames_that_dont_fit_are_refused_and_leave_no_trace(tmp_path: Path, fault: str) -> None:
    spoil, match = BAD_FRAMES[fault]
    frames = episode(4, 1)
    spoil(frames)
    with LeRobotWriter(tmp_path / "a", 10, FEATURES) as writer:
        writer.add_episode(episode(4, 0), "x")
        with pytest.raises(DatasetError, match=match):
            writer.add_episode(frames, "y")
        writer.add_episode(episode(4, 2), "z")
    dataset = LeRobotDataset(tmp_path / "a")
    assert len(dataset) == 8 and dataset.tasks == ("x", "z")


BAD_FEATURES = {
    "slash": ({"a/b": Feature("float32", (1,))}, "feature 'a/b'"),
    "index": ({"timestamp": Feature("float32", (1,))}, "feature 'timestamp'"),
    "odd": ({FRONT: Feature("video", (33, 48, 3), ("height", "width", "channels"))}, "48 x 33 for a video"),
    "axes": ({FRONT: Feature("video", (3, 32, 48))}, "name its axes"),
    "names": ({"action": Feature("float32", (2,), ("x",))}, "1 names for action"),
    "empty": ({"action": Feature("float32", (0,))}, "of shape"),
    "complex": ({"action": Feature("complex64", (1,))}, "complex64"),
}


@pytest.mark.parametrize("fault", BAD_FEATURES)
def test_features_that_cant_be_written_are_refused(tmp_path: Path, fault: str) -> None:
    features, match = BAD_FEATURES[fault]
    with pytest.raises(DatasetError, match=match), LeRobotWriter(tmp_path / "a", 10, features) as writer:
        writer.add_episode({FRONT: np.zeros((2, 33, 48, 3), np.uint8)}, "x")
    with pytest.raises(DatasetError, match=r"unfinished|without meta/info\.json"):
        LeRobotDataset(tmp_path / "a")


def test_a_writer_that_is_killed_leaves_no_data_set(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from lerobot_samples import FEATURES, episode
from vla_policy.training.lerobot_writer import LeRobotWriter
with LeRobotWriter(Path(sys.argv[1]), 10, FEATURES) as writer:
    writer.add_episode(episode(4, 0), "x")
    os._exit(9)
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 9
    with pytest.raises(DatasetError, match="got a unfinished: its writer was interrupted"):
        LeRobotDataset(tmp_path / "a")
    with pytest.raises(DatasetError, match=r"without meta/info\.json"):
        LeRobotDataset(unfinished_folder(tmp_path / "a"))
    write(tmp_path / "a", (3,))  # begins anew
    assert len(LeRobotDataset(tmp_path / "a")) == 3 and not unfinished_folder(tmp_path / "a").exists()
    with pytest.raises(DatasetError, match="which exists"):
        LeRobotWriter(tmp_path / "a", 10, FEATURES)


def test_whole_episodes_can_be_kept_after_an_interrupt_but_no_half_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt), LeRobotWriter(tmp_path / "a", 10, FEATURES) as writer:
        writer.add_episode(episode(4, 0), "x")
        raise KeyboardInterrupt
    assert not (tmp_path / "a").exists()
    writer.finish()
    assert len(LeRobotDataset(tmp_path / "a")) == 4

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"), LeRobotWriter(tmp_path / "b", 10, FEATURES) as writer:
        writer.add_episode(episode(4, 0), "x")
        monkeypatch.setattr(VideoEncoder, "append", full)
        writer.add_episode(episode(4, 1), "x")
    with pytest.raises(DatasetError, match="wasn't written to its end"):
        writer.finish()
    assert not (tmp_path / "b").exists()


def test_unknown_features_and_frames_are_named(foreign: LeRobotDataset) -> None:
    with pytest.raises(UnknownNameError, match="feature 'speed'; expected one of: action, episode_index, "):
        foreign.rows([0], ["speed"])
    with pytest.raises(DatasetError, match="expected 0 to 20"):
        foreign.images([21], FRONT)
    with pytest.raises(DatasetError, match="expected 0 to 20"):
        foreign.chunk([-1], "action", 3)
    with pytest.raises(DatasetError, match="of type video"):
        foreign.rows([0], [FRONT])
    with pytest.raises(DatasetError, match="colour pictures"):
        foreign.images([0], "action")
