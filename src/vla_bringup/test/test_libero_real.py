"""LIBERO itself. Makes its virtual environment where there is none (2 GB); $VLA_LIBERO_PYTHON names another one."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_bringup import third_party_suites
from vla_bringup.commands import eval as command
from vla_bringup.setup.third_party import ensure
from vla_bringup.third_party_suites import THIRD_PARTY
from vla_core.contract import load_contract
from vla_core.files import workspace_root
from vla_core.types import Observation
from vla_policy.core.policy import POLICIES, PolicyOutput
from vla_sim.libero import scene
from vla_sim.libero.benchmark import LIBERO_SPATIAL, to_libero
from vla_sim.libero.tasks import TASKS
from vla_sim.third_party.client import Worker, start_workers, worker_environment

pytestmark = pytest.mark.slow
STILL = np.array([[0, 0, 0, 0, 0, 0, -1]], np.float32)
# Runs there: the bowl is put over the plate by hand, then beside it; prints LIBERO's verdicts.
JUDGE = """
import importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("scene", sys.argv[1])
scene = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scene)
played = scene.Scene(64)
played.reset(sys.argv[2], 0)
sim, still = played._env.sim, np.array([0, 0, 0, 0, 0, 0, -1], np.float32)
plate = sim.data.get_joint_qpos("plate_1_joint0")[:3].copy()
for shift in (0.0, 0.25):
    pose = sim.data.get_joint_qpos("akita_black_bowl_1_joint0").copy()
    pose[:3] = plate + [shift, 0.0, 0.03]
    sim.data.set_joint_qpos("akita_black_bowl_1_joint0", pose)
    sim.data.set_joint_qvel("akita_black_bowl_1_joint0", np.zeros(6))
    verdicts = [played.step(still) for _ in range(20)]
    print("VERDICT", verdicts[-1])
played.close()
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """Interpreter that has LIBERO."""
    named = os.environ.get("VLA_LIBERO_PYTHON")
    return Path(named) if named else ensure(workspace_root(), "libero")


@pytest.fixture(scope="module")
def worker(python: Path) -> Iterator[Worker]:
    """A worker to evaluate."""
    with start_workers(LIBERO_SPATIAL, python, "evaluate", 1, 224) as workers:
        yield workers[0]


def test_our_list_of_tasks_is_liberos(python: Path) -> None:
    code = (
        "from libero.libero.benchmark import get_benchmark as g\n"
        "import json; s = g('libero_spatial')()\n"
        "print(json.dumps([[t.name, t.language, len(s.get_task_init_states(i))]"
        " for i in range(s.get_num_tasks()) for t in [s.get_task(i)]]))"
    )
    environ = worker_environment(os.environ)
    said = subprocess.check_output([python, "-I", "-c", code], env=environ, text=True, timeout=300)
    theirs = json.loads(said.splitlines()[-1])
    assert theirs == [[task.name, task.instruction, len(LIBERO_SPATIAL.seeds)] for task in TASKS]


def test_the_initial_state_alone_makes_the_scene_and_the_images(worker: Worker) -> None:
    """The gripper closes in between: what robosuite remembers of it must not reach the next episode."""
    first = worker.reset(TASKS[0].name, 0)
    worker.step(np.tile(np.array([[0.5, 0.5, -1, 0, 0, 0.5, 1]], np.float32), (10, 1)), draw=False)
    other, again = worker.reset(TASKS[0].name, 1), worker.reset(TASKS[0].name, 0)
    np.testing.assert_array_equal(first.state, again.state)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert np.any(np.asarray(first.rgb) != np.asarray(other.rgb))
    moved = [worker.step(STILL, draw=False).state for _ in range(2)]
    np.testing.assert_allclose(moved[1], moved[0], atol=2e-3)


def test_both_cameras_see_upright_what_is_there(worker: Worker) -> None:
    agentview, eye_in_hand = np.asarray(worker.reset(TASKS[0].name, 0).rgb).astype(int)
    wood = agentview[..., 0] - agentview[..., 2] > 20
    assert wood[120:].mean() > 0.5 > 0.05 > wood[:60].mean(), "table below, grey wall above"
    dark = agentview.max(-1) < 45
    assert dark[80:190, 150:].mean() > 3 * dark[80:190, :74].mean(), "the cabinet is on the right: mirrored"
    assert (eye_in_hand[190:].max(-1) < 70).mean() > 0.8, "the hand is at the bottom edge"
    assert (eye_in_hand[:150, ..., 0] - eye_in_hand[:150, ..., 2] > 20).mean() > 0.3, "the table before it"


@pytest.mark.parametrize("axis", range(3))
def test_actions_move_the_tool_along_the_axes_of_the_base(worker: Worker, axis: int) -> None:
    """The controller has not arrived when the next step begins, so the way is shorter than asked for."""
    before = worker.reset(TASKS[0].name, 0).state
    action = np.zeros((1, 7), np.float32)
    action[0, axis], action[0, 6] = 0.02, -1.0
    after = worker.step(np.repeat(to_libero(action), 15, 0), draw=False).state
    way = after[:3] - before[:3]
    assert int(np.argmax(np.abs(way))) == axis and 0.03 < way[axis] < 15 * 0.02


def test_the_gripper_closes_above_zero(worker: Worker) -> None:
    opened = worker.reset(TASKS[0].name, 0).state[6:]
    closed = worker.step(np.repeat(-STILL, 15, 0), draw=False).state[6:]
    assert opened[0] - opened[1] > 0.07 > 0.03 > closed[0] - closed[1]


def test_liberos_own_predicate_is_the_judge(python: Path) -> None:
    words = [python, "-I", "-c", JUDGE, scene.__file__, TASKS[0].name]
    said = subprocess.check_output(words, env=worker_environment(os.environ), text=True, timeout=900)
    assert [line.split()[1] for line in said.splitlines() if line.startswith("VERDICT")] == ["True", "False"]


class Lower:
    """Lowers the hand with an open gripper; remembers where it was."""

    def __init__(self, contract_hash: str) -> None:
        self.contract_hash, self.name, self.strategies = contract_hash, "lower", frozenset[str]()
        self.heights: list[float] = []

    def predict(self, observation: Observation, seed: int, running: object = None) -> PolicyOutput:
        assert observation.rgb.shape == (2, 224, 224, 3)
        self.heights.append(float(observation.state[2]))
        return PolicyOutput(np.tile(np.array([0, 0, -0.02, 0, 0, 0, -1], np.float32), (8, 1)), 0.0, 0.0)


def test_a_short_episode_by_one_command(python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 steps, no success, one row for the task and one for all."""
    lower, suite = Lower(load_contract("libero_panda").hash), THIRD_PARTY["libero-spatial"]
    short = replace(suite, benchmark=replace(suite.benchmark, limit=16), limits=(16,))
    monkeypatch.setitem(THIRD_PARTY, "libero-spatial", short)
    monkeypatch.setattr(third_party_suites, "ensure", lambda root, name: python)
    monkeypatch.setitem(POLICIES._own, "lower", lambda *_: lower)
    preset = {"name": "lower", "policy": "lower", "contract": "libero_panda", "weights": "none"}
    path = tmp_path / "lower.yaml"
    path.write_text(json.dumps(preset | {"model": {}, "decoding": {}, "training": {}}))
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["--suite", "libero-spatial", "--policy", str(path), "--episodes", "1", "--task", "4", "--workers", "1"]
    args = parser.parse_args(words)
    args.out = tmp_path
    assert command.run(args) == 0
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert [(row["task"], row["success"]) for row in rows] == [(TASKS[4].name, 0.0), ("all", 0.0)]
    assert len(lower.heights) == 2 and lower.heights[1] < lower.heights[0] - 0.02
