"""Score a policy on a benchmark: every task, some episodes each, judged by the benchmark's own verdict.

An episode is won when the verdict is yes after any step, as the benchmarks' own evaluations count. A policy is given
pixels, proprioception and the instruction, nothing else.
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
from vla_sim.third_party.benchmark import Benchmark, Task
from vla_sim.third_party.client import SCRIPT, Worker, start_workers


class ChunkPolicy(Protocol):
    """What is scored."""

    def act(self, rgb: NDArray[np.uint8], state: Float32, instruction: str) -> Float32:
        """Answer an observation; episodes take turns, so the answer may not depend on earlier ones.

        Args:
            rgb: uint8 (V,H,W,3), the benchmark's views.
            state: float32 (S,), its proprioception.
            instruction: What is to be done.

        Returns:
            float32 (T,A) in the benchmark's own units, at least as many steps as are executed; what exceeds -1..1 is
            clipped.
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
    """

    episodes: int
    execute: int
    limit: int
    size: int
    workers: int = 2

    def check(self, benchmark: Benchmark) -> None:
        """Refuse what a benchmark can't play.

        Raises:
            ConfigError: says what.
        """
        if not 1 <= self.execute <= self.limit <= benchmark.limit:
            got = f"{self.execute} executed actions in episodes of {self.limit} steps"
            raise ConfigError(got, f"1 <= execute <= limit <= {benchmark.limit}", "mend execute or limit")
        if not 1 <= self.episodes <= len(benchmark.seeds):
            got = f"{self.episodes} episodes per task"
            raise ConfigError(got, f"1..{len(benchmark.seeds)}, as {benchmark.name} has scenes", "mend --episodes")


@dataclass(frozen=True, slots=True)
class ScoredEpisode:
    """How one episode went.

    Attributes:
        task, group, seed: Which one it was.
        success: Whether the task was solved.
        steps: Until then, or until the end.
        ms_per_chunk: Time of each answer of the policy [ms].
    """

    task: str
    group: str
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
    benchmark: Benchmark,
    python: Path,
    tasks: Sequence[Task],
    config: EvaluationConfig,
    script: Path = SCRIPT,
) -> Iterator[ScoredEpisode]:
    """Yield episodes as they end; the workers simulate while the policy answers another one's observation.

    The policy is asked in an order that depends only on what it answers, so one that draws from a seeded generator
    gives the same episodes again with the same number of workers.

    Args:
        policy: What is scored.
        benchmark: What it is scored on.
        python: Interpreter of the benchmark's virtual environment.
        tasks: Which ones.
        config: How.
        script: What the workers run.

    Raises:
        ConfigError: no task, or settings out of range.
        ChunkError: the policy answers with too short a chunk, another shape, or something that isn't finite.
        WorkerError: a worker dies or hangs.
    """
    config.check(benchmark)
    if not tasks:
        raise ConfigError("no task", "at least one", "name tasks or groups")
    return _play(policy, benchmark, python, tasks, config, script)


def _play(
    policy: ChunkPolicy, benchmark: Benchmark, python: Path, tasks: Sequence[Task], config: EvaluationConfig,
    script: Path,
) -> Iterator[ScoredEpisode]:  # fmt: skip
    waiting, seeds = deque(tasks), benchmark.seeds[: config.episodes]
    count = min(config.workers, len(tasks))
    with start_workers(benchmark, python, "evaluate", count, config.size, script) as workers:
        seats = deque(_Seat(worker, waiting.popleft(), deque(seeds)) for worker in workers)
        for seat in seats:
            seat.begin()
        while seats:
            seat = seats.popleft()
            episode = _go_on(seat, policy, config, benchmark.actions)
            if episode is not None:
                yield episode
                seat.seeds.popleft()
                if not seat.seeds:
                    if not waiting:
                        continue
                    seat.task, seat.seeds = waiting.popleft(), deque(seeds)
                seat.begin()
            seats.append(seat)


def _go_on(seat: _Seat, policy: ChunkPolicy, config: EvaluationConfig, wide: int) -> ScoredEpisode | None:
    """Collect an observation and post what the policy answers, or tell how the episode ended."""
    seen = seat.worker.seen()
    if seen.success or seen.steps >= config.limit:
        times = tuple(seat.times)
        return ScoredEpisode(seat.task.name, seat.task.group, seat.seeds[0], seen.success, seen.steps, times)
    assert seen.rgb is not None
    begin = time.perf_counter()
    chunk = policy.act(seen.rgb, seen.state, seat.task.instruction)
    seat.times.append(1e3 * (time.perf_counter() - begin))
    actions = _checked(chunk, config.execute, wide)
    seat.worker.post_step(actions[: min(config.execute, config.limit - seen.steps)])
    return None


def _checked(chunk: Float32, execute: int, wide: int) -> Float32:
    """The chunk, clipped to -1..1.

    Raises:
        ChunkError: it can't be executed.
    """
    actions = np.asarray(chunk, np.float32)
    if actions.ndim != 2 or actions.shape[1] != wide or len(actions) < execute:
        fix = "execute fewer actions, or take another policy"
        raise ChunkError(f"a chunk {actions.shape}", f"(T,{wide}) with T >= {execute}", fix)
    if not np.isfinite(actions).all():
        raise ChunkError("a chunk with NaN or infinity", "finite actions", "take other weights")
    return np.clip(actions, -1.0, 1.0)
