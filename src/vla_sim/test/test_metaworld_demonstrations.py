"""Meta-World demonstrations with a fake expert: noise in the execution, none in the labels; retries; going on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import metaworld_fake
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import ConfigError
from vla_sim.metaworld import demonstrations
from vla_sim.metaworld.benchmark import METAWORLD
from vla_sim.metaworld.demonstrations import (
    DemonstrationConfig,
    DemonstrationError,
    Disturbance,
    demonstrate,
    generate,
    play,
    rehearse,
    seeds_of,
)  # fmt: skip
from vla_sim.metaworld.shards import FRAME_ARRAYS, read_shard, shard_paths
from vla_sim.metaworld.tasks import TASKS, Task
from vla_sim.third_party.client import Worker, WorkerError, start_workers

FAKE, PYTHON = Path(metaworld_fake.__file__), Path(sys.executable)
CONFIG = DemonstrationConfig(per_task=3, size=16, horizon=5, stride=2, linger=2, per_shard=2)
DOOR = next(t for t in TASKS if t.name == "door-open-v3")
FRAGILE, HOPELESS = (Task(k, name, "easy", name) for k, name in enumerate(("fragile", "hopeless")))


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker with an expert."""
    with start_workers(METAWORLD, PYTHON, "demonstrate", 1, CONFIG.size, FAKE) as workers:
        yield workers[0]


def _noise(scale: float) -> Disturbance:
    return Disturbance(np.random.default_rng(7), scale)


def test_labels_are_the_experts_from_where_the_noise_has_pushed_the_arm(worker: Worker) -> None:
    frames = play(worker, DOOR, 0, _noise(1.0), CONFIG)
    y, z = frames["state"][:, 1], frames["state"][:, 2]
    assert np.abs(y).max() > 1e-3, "the arm was pushed"
    np.testing.assert_allclose(frames["action"][:, 1], np.clip(-10.0 * y, -1.0, 1.0), atol=1e-6)
    np.testing.assert_allclose(frames["action"][:, 2], np.clip(-10.0 * z, -1.0, 1.0), atol=1e-6)
    # Undisturbed, the expert comes back by a tenth per step: noise of later steps isn't in the label.
    decay = np.clip(-10.0 * y, -1.0, 1.0)[:, None] * 0.9 ** np.arange(CONFIG.horizon)
    small = np.abs(10.0 * y) < 1.0
    np.testing.assert_allclose(frames["chunk"][small, :, 1], decay[small], atol=1e-5)


def test_without_noise_the_label_is_what_is_executed(worker: Worker) -> None:
    frames = play(worker, DOOR, 0, _noise(0.0), CONFIG)
    moved = np.diff(frames["state"][:, :3], axis=0)
    done = 0.01 * frames["chunk"][:-1, : CONFIG.stride, :3].sum(axis=1)
    np.testing.assert_allclose(moved, done, atol=1e-6)


def test_frames_are_every_other_step_until_a_little_after_success(worker: Worker) -> None:
    needed = rehearse(worker, DOOR, 0, _noise(1.0))
    frames = play(worker, DOOR, 0, _noise(1.0), CONFIG)
    assert needed is not None
    last = (needed + CONFIG.linger) // CONFIG.stride * CONFIG.stride
    assert frames["step"].tolist() == list(range(0, last + 1, CONFIG.stride))
    np.testing.assert_array_equal(frames["rgb"][:, 0, 0, 0], frames["step"], "the image belongs to its step")
    assert frames["success"].tolist() == (frames["step"] >= needed).tolist()


def test_noise_that_the_expert_cannot_bear_is_weakened(worker: Worker) -> None:
    scales, retries = set(), 0
    for episode in range(12):
        frames, refused, retried = demonstrate(worker, FRAGILE, episode, CONFIG)
        assert refused == 0 and frames["success"][-1] and (frames["seed"] == seeds_of(episode)[0]).all()
        scales |= set(frames["disturbance"].tolist())
        retries += retried
    assert retries > 0 and scales <= {0.0, 0.25, 0.5, 1.0} and len(scales) > 1


def test_an_episode_is_the_same_again(worker: Worker) -> None:
    first, again = (demonstrate(worker, DOOR, 5, CONFIG)[0] for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in FRAME_ARRAYS)


def test_an_expert_that_always_fails_ends_the_generation(tmp_path: Path) -> None:
    with pytest.raises(DemonstrationError, match="expert of hopeless that fails at the seeds"):
        generate(tmp_path, PYTHON, (HOPELESS, DOOR), CONFIG, script=FAKE)
    assert not list(tmp_path.glob("shard_*hopeless*"))


def test_shards_are_made_in_parallel_and_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = generate(tmp_path, PYTHON, (DOOR,), CONFIG, script=FAKE)
    paths = shard_paths(tmp_path)
    shards = [read_shard(path) for path in paths]
    assert report["episodes"] == 3 and [len(set(s["episode"])) for s in shards] == [2, 1]
    assert report["frames"] == sum(len(s["rgb"]) for s in shards)
    assert all((s["task"] == DOOR.index).all() and s["tasks"][DOOR.index] == DOOR.name for s in shards)
    paths[0].unlink()
    monkeypatch.setattr(demonstrations, "write_shard", _refuse_other_than(paths[0]))
    assert generate(tmp_path, PYTHON, (DOOR,), CONFIG, script=FAKE)["episodes"] == 2
    again = read_shard(paths[0])
    assert all(np.array_equal(again[name], shards[0][name]) for name in FRAME_ARRAYS)
    assert generate(tmp_path, PYTHON, (DOOR,), CONFIG, script=FAKE)["episodes"] == 0


def _refuse_other_than(path: Path):
    original = demonstrations.write_shard

    def write(where: Path, episodes: object) -> None:
        assert where == path
        original(where, episodes)  # type: ignore[arg-type]

    return write


def test_a_folder_holds_demonstrations_of_one_kind(tmp_path: Path) -> None:
    generate(tmp_path, PYTHON, (DOOR,), CONFIG, script=FAKE)
    other = DemonstrationConfig(per_task=3, size=32, horizon=5)
    with pytest.raises(ConfigError, match="choose another folder"):
        generate(tmp_path, PYTHON, (DOOR,), other, script=FAKE)


def test_the_death_of_a_worker_ends_the_generation(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="on fire"):
        generate(tmp_path, PYTHON, (Task(3, "die", "hard", "die"), DOOR), CONFIG, workers=1, script=FAKE)


def test_an_interruption_ends_the_workers_and_leaves_no_half_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Worker] = []
    original = demonstrations.demonstrate

    def interrupt(worker: Worker, *rest: object) -> object:
        started.append(worker)
        if len(started) == 4:
            raise KeyboardInterrupt
        return original(worker, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(demonstrations, "demonstrate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, PYTHON, (DOOR, FRAGILE), CONFIG, script=FAKE)
    assert all(worker._process.poll() is not None for worker in started)
    assert not list(tmp_path.glob("*.tmp.npz"))


def test_broken_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no shard_\*\.npz"):
        shard_paths(tmp_path)
    generate(tmp_path, PYTHON, (DOOR,), CONFIG, script=FAKE)
    path = shard_paths(tmp_path)[0]
    arrays = dict(np.load(path))
    np.savez(path, **(arrays | {"state": arrays["state"][:, :3]}))
    with pytest.raises(ConfigError, match="state float32"):
        read_shard(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(ConfigError, match=path.name):
        read_shard(path)


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 1.0]))
def test_noise_stays_within_what_can_be_executed(seed: int, scale: float) -> None:
    disturb = Disturbance(np.random.default_rng(seed), scale)
    action = np.array([0.9, -0.9, 0.0, 1.0], np.float32)
    executed = np.array([disturb(action) for _ in range(200)])
    assert np.abs(executed).max() <= 1.0
    assert (executed == action).all() == (scale == 0.0)
