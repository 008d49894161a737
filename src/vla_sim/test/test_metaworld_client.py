"""Meta-World's workers: the frames, what they may tell, and what happens when one fails."""

from __future__ import annotations

import io
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import metaworld_fake
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vla_core.errors import ConfigError
from vla_sim.metaworld import worker as wire
from vla_sim.metaworld.client import Seen, Worker, WorkerError, start_workers, worker_environment

FAKE = Path(metaworld_fake.__file__)
PYTHON = Path(sys.executable)
SIZE = 16


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker to evaluate."""
    with start_workers(PYTHON, "evaluate", 1, SIZE, timeout_s=20.0, script=FAKE) as workers:
        yield workers[0]


def test_an_episode_goes_over_the_pipes(worker: Worker) -> None:
    first = worker.reset("door-open-v3", 3)
    assert first.steps == 0 and not first.success and first.rgb is not None and first.rgb.shape == (SIZE, SIZE, 3)
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
    with start_workers(PYTHON, "evaluate", 1, SIZE, timeout_s=2.0, script=FAKE) as (worker,):
        with pytest.raises(WorkerError, match="no answer within 2 s after: reset of hang"):
            worker.reset("hang", 0)
        assert worker._process.wait(10.0) == -9


def test_what_a_library_prints_between_the_frames_is_noticed(worker: Worker) -> None:
    with pytest.raises(WorkerError, match="a frame of kind"):
        worker.reset("babble", 0)


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="no-python"):
        Worker(tmp_path / "no-python", "evaluate")
    script = tmp_path / "broken.py"
    script.write_text("import metaworld_is_not_here\n")
    with pytest.raises(WorkerError, match="metaworld_is_not_here"), start_workers(PYTHON, "evaluate", 1, script=script):
        pass


@pytest.mark.parametrize("actions", [np.zeros(4), np.zeros((0, 4)), np.zeros((2, 3)), np.full((1, 4), np.nan)])
def test_actions_that_cannot_be_executed_never_leave(worker: Worker, actions: np.ndarray) -> None:
    with pytest.raises(WorkerError, match="finite"):
        worker.step(actions)


def test_closing_ends_the_process() -> None:
    with start_workers(PYTHON, "evaluate", 2, SIZE, script=FAKE) as workers:
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
        Worker(PYTHON, "evaluate", size=4, script=FAKE)


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


class FakeEnv:
    """Meta-World's interface as far as the worker uses it; every privileged number is 77."""

    def __init__(self) -> None:
        quality = types.SimpleNamespace(shadowsize=4096, offsamples=4)
        camera = types.SimpleNamespace(id=2)
        self.model = types.SimpleNamespace(
            vis=types.SimpleNamespace(quality=quality), cam_pos=np.zeros((4, 3)), camera=lambda name: camera
        )
        self.executed: list[np.ndarray] = []

    def seed(self, seed: int) -> None:
        self.seeded = seed

    def reset(self) -> tuple[np.ndarray, dict[str, Any]]:
        return np.array([0.1, 0.6, 0.2, 1.0, *[77.0] * 35]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.executed.append(action)
        return *self.reset()[:1], 77.0, False, False, {"success": 0.0, "obj_to_target": 77.0}


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> wire.Scene:
    """What an evaluating worker holds, on a fake Meta-World whose experts can't be imported."""
    registry = types.SimpleNamespace(ENV_CLS_MAP={"door-open-v3": FakeEnv})
    monkeypatch.setitem(sys.modules, "metaworld", types.ModuleType("metaworld"))
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", registry)
    monkeypatch.setitem(sys.modules, "metaworld.policies", None)
    made = wire.Scene(SIZE)
    monkeypatch.setattr(made, "_draw", lambda: np.full((SIZE, SIZE, 3), 9, np.uint8))
    return made


def test_nothing_privileged_leaves_an_evaluating_worker(scene: wire.Scene) -> None:
    asked = wire.SEED.pack(10_000_000) + b"door-open-v3"
    kind, body = wire.answer(scene, wire.RESET, asked)
    assert kind == wire.OBSERVATION and len(body) == wire.OBSERVED.size + 3 * SIZE**2
    assert wire.OBSERVED.unpack_from(body) == (0, 0, *np.float32([0.1, 0.6, 0.2, 1.0]))
    kind, body = wire.answer(scene, wire.STEP, bytes([0]) + np.full((2, 4), 5.0, "<f4").tobytes())
    assert kind == wire.OBSERVATION and wire.OBSERVED.unpack(body)[0] == 2
    env = scene._env
    assert np.float32(77.0).tobytes() not in body and env._partially_observable and env.seeded == 10_000_000
    assert np.max(env.executed) == 1.0, "actions are clipped"
    with pytest.raises(PermissionError):
        wire.answer(scene, wire.LABEL, wire.COUNT.pack(4))
    with pytest.raises(ImportError):
        wire.Lesson(SIZE)


def test_the_camera_is_moved_and_the_costly_drawing_is_off(scene: wire.Scene) -> None:
    wire.answer(scene, wire.RESET, wire.SEED.pack(0) + b"door-open-v3")
    model = scene._env.model
    assert (model.vis.quality.shadowsize, model.vis.quality.offsamples) == (0, 0)
    np.testing.assert_array_equal(model.cam_pos[2], wire.CAMERA_XYZ)


def test_an_episode_has_no_more_steps_than_meta_world_allows(scene: wire.Scene) -> None:
    wire.answer(scene, wire.RESET, wire.SEED.pack(0) + b"door-open-v3")
    wire.answer(scene, wire.STEP, bytes([0]) + np.zeros((wire.MAX_STEPS, 4), "<f4").tobytes())
    with pytest.raises(ValueError, match="500 steps"):
        wire.answer(scene, wire.STEP, bytes([0]) + np.zeros((1, 4), "<f4").tobytes())
