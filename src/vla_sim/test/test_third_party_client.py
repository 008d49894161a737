"""Workers of benchmarks: the frames, what they may tell, and what happens when one fails."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import metaworld_fake
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import ConfigError
from vla_sim.metaworld.benchmark import METAWORLD
from vla_sim.third_party import worker as wire
from vla_sim.third_party.client import Seen, Worker, WorkerError, start_workers, worker_environment

FAKE = Path(metaworld_fake.__file__)
PYTHON = Path(sys.executable)
SIZE = 16
QUICK = replace(METAWORLD, timeout_s=20.0)


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker to evaluate."""
    with start_workers(QUICK, PYTHON, "evaluate", 1, SIZE, FAKE) as workers:
        yield workers[0]


def test_an_episode_goes_over_the_pipes(worker: Worker) -> None:
    first = worker.reset("door-open-v3", 3)
    assert first.steps == 0 and not first.success and first.rgb is not None and first.rgb.shape == (1, SIZE, SIZE, 3)
    second = worker.step(np.tile(np.array([[1.0, 0.5, 0.0, 0.0]], np.float32), (3, 1)))
    assert second.steps == 3 and (np.asarray(second.rgb) == 3).all()
    np.testing.assert_allclose(second.state - first.state, [0.03, 0.015, 0.0, 0.0], atol=1e-6)
    assert worker.step(np.zeros((1, 4), np.float32), draw=False).rgb is None
    end = worker.step(np.ones((99, 4), np.float32))
    assert end.success and end.steps < 20, "it stops at first success"


def test_the_same_seed_is_the_same_scene(worker: Worker) -> None:
    states = [worker.reset("door-open-v3", seed).state for seed in (5, 6, 5)]
    np.testing.assert_array_equal(states[0], states[2])
    assert not np.array_equal(states[0], states[1])


def test_an_answer_with_anything_beside_the_four_numbers_is_refused(worker: Worker) -> None:
    with pytest.raises(WorkerError, match="an observation of"):
        worker.reset("leak", 0)


def test_what_is_seen_has_no_room_for_objects() -> None:
    assert Seen.__slots__ == ("rgb", "state", "steps", "success")


def test_the_expert_is_silent_while_evaluating(worker: Worker) -> None:
    with pytest.raises(WorkerError, match="start a worker to demonstrate"):
        worker.label(4)
    worker.mode = "demonstrate"  # even a client that lies gets nothing
    worker.reset("door-open-v3", 0)
    with pytest.raises(WorkerError, match="no such request"):
        worker.label(4)


def test_the_death_of_a_worker_is_one_sentence(worker: Worker) -> None:
    worker.reset("door-open-v3", 0)
    with pytest.raises(WorkerError) as caught:
        worker.reset("die", 4)
    text = str(caught.value)
    assert "exit status 7" in text and "reset of die, seed 4" in text and "the graphics card is on fire" in text
    with pytest.raises(WorkerError):  # and it stays dead
        worker.reset("door-open-v3", 0)


def test_a_worker_that_hangs_is_ended() -> None:
    with start_workers(replace(METAWORLD, timeout_s=2.0), PYTHON, "evaluate", 1, SIZE, FAKE) as (worker,):
        with pytest.raises(WorkerError, match="no answer within 2 s after: reset of hang"):
            worker.reset("hang", 0)
        assert worker._process.wait(10.0) == -9


def test_what_a_library_prints_between_the_frames_is_noticed(worker: Worker) -> None:
    with pytest.raises(WorkerError, match="a frame of kind"):
        worker.reset("babble", 0)


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="no-python"):
        Worker(METAWORLD, tmp_path / "no-python", "evaluate")
    script = tmp_path / "broken.py"
    script.write_text("import metaworld_is_not_here\n")
    broken = replace(METAWORLD, scene=script)
    for what, ran in ((METAWORLD, script), (broken, wire.__file__)):
        with (
            pytest.raises(WorkerError, match="metaworld_is_not_here"),
            start_workers(what, PYTHON, "evaluate", 1, script=Path(ran)),
        ):
            pass


@pytest.mark.parametrize("actions", [np.zeros(4), np.zeros((0, 4)), np.zeros((2, 3)), np.full((1, 4), np.nan)])
def test_actions_that_cannot_be_executed_never_leave(worker: Worker, actions: np.ndarray) -> None:
    with pytest.raises(WorkerError, match="finite"):
        worker.step(actions)


def test_closing_ends_the_process() -> None:
    with start_workers(METAWORLD, PYTHON, "evaluate", 2, SIZE, FAKE) as workers:
        processes = [w._process for w in workers]
    assert [p.returncode for p in processes] == [0, 0]
    with pytest.raises(WorkerError, match="closed"):
        workers[0].reset("door-open-v3", 0)


def test_settings_of_our_python_stay_here() -> None:
    ours = {"LD_LIBRARY_PATH": "a", "PYTHONPATH": "b", "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1", "MUJOCO_GL": "glfw"}
    child = worker_environment(ours | {"HOME": "/root"})
    assert not {"LD_LIBRARY_PATH", "PYTHONPATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"} & set(child)
    assert child["HOME"] == "/root" and child["MUJOCO_GL"] == "egl"


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="images of 4 px"):
        Worker(METAWORLD, PYTHON, "evaluate", size=4, script=FAKE)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=5), st.integers(1, 4))
def test_frames_read_back_as_written_and_a_cut_one_ends_the_stream(
    frames: list[tuple[int, bytes]], missing: int
) -> None:
    stream = io.BytesIO()
    for kind, body in frames:
        wire.write_frame(stream, kind, body)
    stream.seek(0)
    assert [wire.read_frame(stream) for _ in frames] == frames
    assert wire.read_frame(stream) is None
    if frames:
        cut = io.BytesIO(stream.getvalue()[:-missing])
        assert [wire.read_frame(cut) for _ in frames][-1] is None


class Line:
    """A scene of one number: place, moved by a tenth of each action, done from 0.25 on."""

    actions, limit = 1, 5

    def __init__(self) -> None:
        self.place, self.executed = 0.0, [0.0]

    def reset(self, name: str, seed: int) -> None:
        if name != "line":
            raise KeyError(name)
        self.place = 0.01 * seed

    def step(self, action: np.ndarray) -> bool:
        self.executed.append(float(action[0]))
        self.place += 0.1 * float(action[0])
        return self.place >= 0.25

    def state(self) -> np.ndarray:
        return np.array([self.place])

    def draw(self) -> np.ndarray:
        return np.full((2, 3, 3, 3), 7, np.uint8)

    def label(self, horizon: int) -> np.ndarray:
        return np.ones((horizon, 1))

    def close(self) -> None: ...


def _step(host: wire.Host, *actions: float) -> tuple[int, int, float]:
    kind, body = host.answer(wire.STEP, bytes([0]) + np.array(actions, "<f4").tobytes())
    assert kind == wire.OBSERVATION and len(body) == wire.OBSERVED.size + 4
    return *wire.OBSERVED.unpack_from(body), float(np.frombuffer(body, "<f4", offset=wire.OBSERVED.size)[0])


def test_a_host_counts_clips_and_stops_at_new_success() -> None:
    host = wire.Host(line := Line())
    kind, body = host.answer(wire.RESET, wire.SEED.pack(5) + b"line")
    assert kind == wire.OBSERVATION and body == wire.OBSERVED.pack(0, 0) + np.float32(0.05).tobytes() + b"\7" * 54
    assert _step(host, 0.5) == (1, 0, pytest.approx(0.1))
    assert _step(host, 9.0, 1.0, 1.0) == (3, 1, pytest.approx(0.3)), "clipped to 1, the last one isn't executed"
    assert max(line.executed) == 1.0
    assert _step(host, -1.0, -1.0) == (5, 0, pytest.approx(0.1)), "going on after success, until it is lost"
    with pytest.raises(ValueError, match="had its 5 steps"):
        _step(host, 1.0)
    host.answer(wire.RESET, wire.SEED.pack(0) + b"line")
    assert _step(host, 0.0) == (1, 0, 0.0)
