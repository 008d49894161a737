"""Scoring on a benchmark with a fake worker: what is executed, when an episode ends, what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import metaworld_fake
import numpy as np
import pytest
from numpy.typing import NDArray

from vla_core.errors import ChunkError, ConfigError
from vla_core.types import Float32
from vla_sim.metaworld.benchmark import METAWORLD
from vla_sim.metaworld.tasks import EVALUATION_SEEDS, Task
from vla_sim.third_party.client import WorkerError
from vla_sim.third_party.evaluation import EvaluationConfig, ScoredEpisode, evaluate

FAKE, PYTHON = Path(metaworld_fake.__file__), Path(sys.executable)
TASKS = tuple(Task(i, name, "easy", f"do {name}") for i, name in enumerate(("door-open-v3", "hopeless", "fragile")))
CONFIG = EvaluationConfig(episodes=3, execute=4, limit=60, size=16, workers=2)


class Pusher:
    """Pushes forward by `speed`, sideways by what its generator draws; remembers what it was asked."""

    def __init__(self, speed: float = 1.0, sideways: float = 0.0) -> None:
        self.asked: list[tuple[str, float, int]] = []
        self._speed, self._sideways, self._rng = speed, sideways, np.random.default_rng(0)

    def act(self, rgb: NDArray[np.uint8], state: Float32, instruction: str) -> Float32:
        self.asked.append((instruction, float(state[0]), int(rgb[0, 0, 0, 0])))
        side = self._sideways * self._rng.normal(size=(7, 1))
        return np.hstack([np.full((7, 1), self._speed), side, np.zeros((7, 2))]).astype(np.float32)


def _play(policy: Pusher, config: EvaluationConfig = CONFIG, tasks: tuple[Task, ...] = TASKS) -> list[ScoredEpisode]:
    return list(evaluate(policy, METAWORLD, PYTHON, tasks, config, FAKE))


def test_every_episode_of_every_task_is_played_once() -> None:
    episodes = _play(Pusher())
    expected = {(t.name, EVALUATION_SEEDS[k]) for t in TASKS for k in range(3)}
    assert {(e.task, e.seed) for e in episodes} == expected and len(episodes) == 9
    assert {e.task: e.success for e in episodes} == {"door-open-v3": True, "hopeless": False, "fragile": True}
    assert all(e.steps == 60 and len(e.ms_per_chunk) == 15 for e in episodes if e.task == "hopeless")
    assert all(5 <= e.steps <= 11 for e in episodes if e.success), "it ended at first success"


def test_only_so_many_actions_of_a_chunk_are_executed() -> None:
    policy = Pusher(speed=0.5)
    (episode,) = _play(policy, replace(CONFIG, episodes=1, workers=1, limit=10), TASKS[1:2])
    assert episode.steps == 10
    assert [step for _, _, step in policy.asked] == [0, 4, 8], "drawn after steps 0, 4 and 8; the limit ends the third"
    assert {text for text, _, _ in policy.asked} == {"do hopeless"}
    np.testing.assert_allclose(np.diff([x for _, x, _ in policy.asked]), 4 * 0.005, atol=1e-6)


def test_a_policy_that_draws_gives_the_same_episodes_again() -> None:
    first, again = (_play(Pusher(sideways=1.0)) for _ in range(2))
    assert [replace(e, ms_per_chunk=()) for e in first] == [replace(e, ms_per_chunk=()) for e in again]


def test_workers_change_neither_scenes_nor_verdicts() -> None:
    outcomes = [
        sorted((e.task, e.seed, e.success, e.steps) for e in _play(Pusher(), replace(CONFIG, workers=n)))
        for n in (1, 2, 9)
    ]
    assert outcomes[0] == outcomes[1] == outcomes[2]


@pytest.mark.parametrize("chunk", [np.zeros((3, 4)), np.zeros((8, 3)), np.zeros(4), np.full((8, 4), np.inf)])
def test_a_chunk_that_cannot_be_executed_ends_the_evaluation(chunk: NDArray[np.float64]) -> None:
    class Broken:
        def act(self, rgb: NDArray[np.uint8], state: Float32, instruction: str) -> Float32:
            return chunk.astype(np.float32)

    with pytest.raises(ChunkError):
        list(evaluate(Broken(), METAWORLD, PYTHON, TASKS, CONFIG, FAKE))


def test_the_death_of_a_worker_ends_the_evaluation() -> None:
    with pytest.raises(WorkerError, match="on fire"):
        _play(Pusher(), tasks=(TASKS[0], Task(7, "die", "hard", "die")))


@pytest.mark.parametrize("wrong", [{"execute": 0}, {"limit": 501}, {"execute": 61}, {"episodes": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        evaluate(Pusher(), METAWORLD, PYTHON, TASKS, replace(CONFIG, **wrong), FAKE)


def test_more_episodes_than_a_benchmark_has_scenes_are_refused() -> None:
    few = replace(METAWORLD, seeds=range(2))
    with pytest.raises(ConfigError, match=r"1\.\.2, as Meta-World has scenes"):
        evaluate(Pusher(), few, PYTHON, TASKS, CONFIG, FAKE)
