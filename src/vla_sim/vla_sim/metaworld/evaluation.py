"""Score a policy on Meta-World: every task, some episodes each, judged by Meta-World's own success flag.

An episode is won when the flag is up after any step (Meta-World's own evaluation, Evo-1's and LeRobot's). Scenes are
drawn from the task's whole box by the seed, as LeRobot does. Evo-1's published evaluation (MetaWorld_evaluation/ in
github.com/MINT-SJTU/Evo-1) plays 10 episodes of at most 400 steps per task and executes 15 actions of a chunk; it
also gives the policy the first 8 numbers of Meta-World's state, which go beyond proprioception: the object's place is
among them. Here a policy gets none of that. LeRobot plays 500 steps, Meta-World's own limit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ChunkError, ConfigError
from vla_core.types import Float32
from vla_sim.metaworld.client import SCRIPT, Worker, start_workers
from vla_sim.metaworld.tasks import FIRST_EVALUATION_SEED, TASKS, Group, Task, evaluation_seeds
from vla_sim.metaworld.worker import MAX_STEPS

#: Longest episode that Evo-1's published evaluation counts.
EVO1_STEPS = 400


class ChunkPolicy(Protocol):
    """What is scored."""

    def act(self, rgb: NDArray[np.uint8], state: Float32, instruction: str) -> Float32:
        """Answer an observation; episodes take turns, so the answer may not depend on earlier ones.

        Args:
            rgb: uint8 (H,W,3).
            state: float32 (4,): tool x y z [m], gripper opening 0..1.
            instruction: What is to be done.

        Returns:
            float32 (T,4): tool displacement per step [cm, -1..1] and gripper effort (1 closes), at least as many
            steps as are executed; what exceeds -1..1 is clipped.
        """


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How a policy is scored.

    Attributes:
        episodes: Of each task.
        execute: Actions of a chunk that are executed before the next one is asked for.
        limit: Longest episode [steps].
        size: Width and height of the images [px].
        workers: Processes that simulate.
        first_seed: Of each task's first episode.
    """

    episodes: int = 10
    execute: int = 15
    limit: int = MAX_STEPS
    size: int = 128
    workers: int = 2
    first_seed: int = FIRST_EVALUATION_SEED

    def __post_init__(self) -> None:
        if not 1 <= self.execute <= self.limit <= MAX_STEPS:
            got = f"{self.execute} executed actions in episodes of {self.limit} steps"
            raise ConfigError(got, f"1 <= execute <= limit <= {MAX_STEPS}", "mend execute or limit")
        evaluation_seeds(self.first_seed, self.episodes)


@dataclass(frozen=True, slots=True)
class MetaworldEpisode:
    """How one episode went.

    Attributes:
        task, group, seed: Which one it was.
        success: Whether the task was solved.
        steps: Until then, or until the end.
        ms_per_chunk: Time of each answer of the policy [ms].
    """

    task: str
    group: Group
    seed: int
    success: bool
    steps: int
    ms_per_chunk: tuple[float, ...]


@dataclass(slots=True)
class _Seat:
    """One worker and what it plays: the episodes of one task after the other."""

    worker: Worker
    task: Task
    seeds: deque[int]
    times: list[float] = field(default_factory=list)

    def begin(self) -> None:
        self.times = []
        self.worker.post_reset(self.task.name, self.seeds[0])


def evaluate(
    policy: ChunkPolicy,
    python: Path,
    tasks: Sequence[Task] = TASKS,
    config: EvaluationConfig = EvaluationConfig(),
    script: Path = SCRIPT,
) -> Iterator[MetaworldEpisode]:
    """Yield episodes as they end; the workers simulate while the policy answers another one's observation.

    The policy is asked in an order that depends only on what it answers, so one that draws from a seeded generator
    gives the same episodes again with the same number of workers.

    Args:
        policy: What is scored.
        python: Interpreter of Meta-World's virtual environment.
        tasks: Which ones.
        config: How.
        script: What the workers run.

    Raises:
        ChunkError: the policy answers with too short a chunk, another shape, or something that isn't finite.
        WorkerError: a worker dies or hangs.
    """
    if not tasks:
        raise ConfigError("no task", "at least one", "name tasks or groups")
    waiting = deque(tasks)
    seeds = evaluation_seeds(config.first_seed, config.episodes)
    count = min(config.workers, len(tasks))
    with start_workers(python, "evaluate", count, config.size, script=script) as workers:
        seats = deque(_Seat(worker, waiting.popleft(), deque(seeds)) for worker in workers)
        for seat in seats:
            seat.begin()
        while seats:
            seat = seats.popleft()
            episode = _go_on(seat, policy, config)
            if episode is not None:
                yield episode
                seat.seeds.popleft()
                if not seat.seeds:
                    if not waiting:
                        continue
                    seat.task, seat.seeds = waiting.popleft(), deque(seeds)
                seat.begin()
            seats.append(seat)


def _go_on(seat: _Seat, policy: ChunkPolicy, config: EvaluationConfig) -> MetaworldEpisode | None:
    """Collect an observation and post what the policy answers, or tell how the episode ended."""
    seen = seat.worker.seen()
    if seen.success or seen.steps >= config.limit:
        times = tuple(seat.times)
        return MetaworldEpisode(seat.task.name, seat.task.group, seat.seeds[0], seen.success, seen.steps, times)
    assert seen.rgb is not None
    begin = time.perf_counter()
    chunk = policy.act(seen.rgb, seen.state, seat.task.instruction)
    seat.times.append(1e3 * (time.perf_counter() - begin))
    actions = _checked(chunk, config.execute)
    seat.worker.post_step(actions[: min(config.execute, config.limit - seen.steps)])
    return None


def _checked(chunk: Float32, execute: int) -> Float32:
    """The chunk, clipped to -1..1.

    Raises:
        ChunkError: it can't be executed.
    """
    actions = np.asarray(chunk, np.float32)
    if actions.ndim != 2 or actions.shape[1] != 4 or len(actions) < execute:
        fix = "execute fewer actions, or take another policy"
        raise ChunkError(f"a chunk {actions.shape}", f"(T,4) with T >= {execute}", fix)
    if not np.isfinite(actions).all():
        raise ChunkError("a chunk with NaN or infinity", "finite actions", "take other weights")
    return np.clip(actions, -1.0, 1.0)
