"""Meta-World itself, in its own virtual environment, which is made where it is missing.

$VLA_METAWORLD_PYTHON names another interpreter that has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vla_bringup.setup.third_party import ensure
from vla_core.files import workspace_root
from vla_sim.metaworld.benchmark import METAWORLD
from vla_sim.metaworld.demonstrations import Disturbance, rehearse
from vla_sim.metaworld.tasks import EVALUATION_SEEDS, TASKS
from vla_sim.third_party.client import Worker, WorkerError, start_workers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> Path:
    """Interpreter that has Meta-World."""
    named = os.environ.get("VLA_METAWORLD_PYTHON")
    return Path(named) if named else ensure(workspace_root(), "metaworld")


@pytest.fixture(scope="module")
def teacher(python: Path) -> Iterator[Worker]:
    """A worker with Meta-World's experts."""
    with start_workers(METAWORLD, python, "demonstrate", 1, 64) as workers:
        yield workers[0]


def test_a_label_is_what_the_expert_then_does_and_changes_nothing(teacher: Worker) -> None:
    for name in ("pick-place-v3", "door-open-v3", "drawer-close-v3"):
        seen = teacher.reset(name, 5)
        done, chunks = [], []
        while not seen.success and seen.steps < 200:
            chunks.append(teacher.label(12))
            done.append(chunks[-1][0])
            seen = teacher.step(chunks[-1][:1], draw=False)
        assert seen.success
        for i in range(len(done) - 12):
            np.testing.assert_array_equal(chunks[i], done[i : i + 12])


def test_most_experts_succeed(teacher: Worker) -> None:
    failed = [t.name for t in TASKS if rehearse(teacher, t, 2, Disturbance(np.random.default_rng(0), 0.0)) is None]
    assert len(failed) <= 2, failed


def test_the_seed_alone_makes_the_scene_and_the_image(teacher: Worker) -> None:
    first = teacher.reset("soccer-v3", 1)
    teacher.step(np.ones((100, 4), np.float32))
    other, again = teacher.reset("soccer-v3", 2), teacher.reset("soccer-v3", 1)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    np.testing.assert_array_equal(first.state, again.state)
    assert np.any(np.asarray(first.rgb) != np.asarray(other.rgb))


def test_the_image_is_upright_and_shows_the_arm_and_the_table(teacher: Worker) -> None:
    rgb = np.asarray(teacher.reset("reach-v3", 0).rgb)[0].astype(float)
    red = (rgb[..., 0] > 1.6 * rgb[..., 1]) & (rgb[..., 0] > 60)
    assert 0.03 < red.mean() < 0.4, "the red Sawyer"
    assert red[:32, :40].mean() > 2 * red[:32, 40:].mean(), "its shoulder is at the upper left"
    assert rgb[48:, 40:].mean(axis=(0, 1))[0] > rgb[:8].mean(axis=(0, 1))[2] - 40, "the table is below"


def test_an_evaluating_worker_has_no_expert(python: Path) -> None:
    with start_workers(METAWORLD, python, "evaluate", 1, 64) as (worker,):
        worker.reset("reach-v3", EVALUATION_SEEDS[0])
        worker.mode = "demonstrate"
        with pytest.raises(WorkerError, match="'evaluate'"):
            worker.label(3)
        with pytest.raises(WorkerError, match="KeyError"):
            worker.reset("no-such-task", EVALUATION_SEEDS[0])
