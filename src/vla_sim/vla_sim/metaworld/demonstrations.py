"""Make Meta-World demonstrations: its scripted experts with noise in the execution and clean labels, in parallel.

    python -m vla_sim.metaworld.demonstrations --out data/metaworld --python .venv-metaworld/bin/python

What was executed before a frame may be noise; what stands in it is what the expert does from there, undisturbed
(noise injection as in DART, Laskey et al. 2017, arXiv 1703.09327). `shards.py` documents the arrays.
"""

from __future__ import annotations

import argparse
import json
import queue
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ConfigError, VlaError
from vla_core.types import Float32
from vla_sim.metaworld.benchmark import METAWORLD
from vla_sim.metaworld.scene import MAX_STEPS
from vla_sim.metaworld.shards import write_shard
from vla_sim.metaworld.tasks import TRAINING_SEEDS, Task, select
from vla_sim.third_party.client import SCRIPT, Seen, Worker, start_workers

#: A scene is tried with the noise that was drawn, with half of it, without; in so many times the undisturbed steps.
SCALES = (1.0, 0.5, 0.0)
PATIENCE = 2
#: How many scenes may be tried, because the expert fails at the ones before.
SEEDS_PER_EPISODE = 4
Episode = dict[str, NDArray[Any]]


class DemonstrationError(VlaError):
    """An expert fails at more scenes than it may."""

    code = "demonstration"


@dataclass(frozen=True, slots=True)
class DemonstrationConfig:
    """What is made.

    Attributes:
        per_task: Episodes of each task.
        size: Width and height of the images [px].
        horizon: Steps of a label.
        stride: A frame is kept every so many steps (a step lasts 12.5 ms and moves the tool by 1 cm at most).
        linger: Steps that are still played after success.
        per_shard: Episodes in one file.
    """

    per_task: int = 50
    size: int = 128
    horizon: int = 16
    stride: int = 2
    linger: int = 4
    per_shard: int = 10

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < (0 if name == "linger" else 1):
                raise ConfigError(f"{name} {value}", "a positive number", f"mend {name}")
        limit = len(TRAINING_SEEDS) // SEEDS_PER_EPISODE
        if self.per_task > limit:
            raise ConfigError(f"{self.per_task} episodes per task", f"at most {limit}", "ask for fewer episodes")


class Disturbance:
    """Noise in what is executed: a slow drift, rare pushes of some centimetres, rare flips of the gripper.

    Args:
        rng: Where it is drawn from.
        scale: 0 executes the expert's actions as they are.
    """

    def __init__(self, rng: np.random.Generator, scale: float) -> None:
        self._rng, self.scale = rng, scale
        self._drift, self._push = np.zeros(3), np.zeros(3)
        self._push_left = self._flip_left = 0

    def __call__(self, action: Float32) -> Float32:
        """Disturbed copy of an action (4,), within -1..1."""
        out = action.astype(np.float64)
        if self.scale > 0.0:
            self._drift = 0.9 * self._drift + self._rng.normal(0.0, 0.06 * self.scale, 3)
            if self._push_left == 0 and self._rng.random() < 0.015:
                direction = self._rng.normal(size=3)
                self._push = self.scale * direction / np.linalg.norm(direction)
                self._push_left = int(self._rng.integers(3, 7))
            if self._flip_left == 0 and self._rng.random() < 0.004 * self.scale:
                self._flip_left = int(self._rng.integers(3, 7))
            out[:3] += self._drift + (self._push if self._push_left else 0.0)
            out[3] *= -1.0 if self._flip_left else 1.0
            self._push_left, self._flip_left = max(0, self._push_left - 1), max(0, self._flip_left - 1)
        return np.clip(out, -1.0, 1.0).astype(np.float32)


def rehearse(worker: Worker, task: Task, seed: int, disturb: Disturbance, limit: int = MAX_STEPS) -> int | None:
    """Steps until the expert succeeds; None when it takes more than `limit`. Draws nothing: a tenth of the time."""
    seen = worker.reset(task.name, seed)
    while not seen.success and seen.steps < limit:
        seen = worker.step(disturb(worker.label(1)[0])[None], draw=False)
    return seen.steps if seen.success else None


def play(worker: Worker, task: Task, seed: int, disturb: Disturbance, config: DemonstrationConfig) -> Episode:
    """The frames of an episode that was rehearsed with the same noise."""
    frames: dict[str, list[Any]] = defaultdict(list)
    seen, after = worker.reset(task.name, seed), 0
    while True:
        after += seen.success or after > 0
        kept = seen.steps % config.stride == 0
        chunk = worker.label(config.horizon if kept else 1)
        if kept:
            _append(frames, seen, chunk)
        if after > config.linger or seen.steps == MAX_STEPS:
            break
        seen = worker.step(disturb(chunk[0])[None], draw=(seen.steps + 1) % config.stride == 0)
    assert after > 0, "the same actions from the same seed end the same way"
    out = {name: np.array(values) for name, values in frames.items()}
    constant = {"task": task.index, "seed": seed, "disturbance": disturb.scale}
    return out | {name: np.full(len(out["step"]), value) for name, value in constant.items()}


def _append(frames: dict[str, list[Any]], seen: Seen, chunk: Float32) -> None:
    assert seen.rgb is not None
    frames["rgb"].append(seen.rgb[0])
    frames["state"].append(seen.state)
    frames["action"].append(chunk[0])
    frames["chunk"].append(chunk)
    frames["step"].append(seen.steps)
    frames["success"].append(seen.success)


def seeds_of(episode: int) -> tuple[int, ...]:
    """The seeds that an episode may use, in order; no two episodes of a task share one."""
    return tuple(episode * SEEDS_PER_EPISODE + k for k in range(SEEDS_PER_EPISODE))


def demonstrate(worker: Worker, task: Task, episode: int, config: DemonstrationConfig) -> tuple[Episode, int, int]:
    """Play an episode in which the expert succeeds without wandering about.

    Returns:
        Its frames, the number of scenes at which the expert failed undisturbed, and of noises that it couldn't bear.

    Raises:
        DemonstrationError: it fails at all of the episode's seeds.
    """
    retried = 0
    for refused, seed in enumerate(seeds_of(episode)):
        draw = np.random.default_rng([seed, task.index, 23])
        needed = rehearse(worker, task, seed, Disturbance(draw, 0.0))
        if needed is None:
            continue
        drawn = float(draw.choice([0.0, 0.5, 1.0], p=[0.3, 0.35, 0.35]))
        limit = min(MAX_STEPS, PATIENCE * needed)
        for attempt, scale in enumerate(dict.fromkeys(drawn * s for s in SCALES)):
            noise = [seed, task.index, 29, attempt]
            last = scale == 0.0  # that has been rehearsed already
            if last or rehearse(worker, task, seed, _disturbance(noise, scale), limit) is not None:
                frames = play(worker, task, seed, _disturbance(noise, scale), config)
                return frames | {"episode": np.full(len(frames["step"]), episode)}, refused, retried
            retried += 1
    got = f"an expert of {task.name} that fails at the seeds {seeds_of(episode)}"
    raise DemonstrationError(got, "success at one of them", "check the version of Meta-World")


def _disturbance(noise: list[int], scale: float) -> Disturbance:
    return Disturbance(np.random.default_rng(noise), scale)


def generate(
    out: Path, python: Path, tasks: Sequence[Task], config: DemonstrationConfig, workers: int = 2, script: Path = SCRIPT
) -> dict[str, Any]:
    """Make demonstrations in parallel. Shards that lie there already are kept: an interrupted run goes on.

    Args:
        out: Folder of the shards.
        python: Interpreter of Meta-World's virtual environment.
        tasks: Which ones.
        config: What is made; a folder holds demonstrations of one kind.
        workers: Processes.
        script: What they run.

    Returns:
        Counts of this run: episodes, frames, scenes refused by task, noises retried, seconds.

    Raises:
        ConfigError: the folder holds demonstrations of another kind.
        DemonstrationError: an expert fails too often.
        WorkerError: a worker dies or hangs.
    """
    _claim(out, config)
    jobs = [job for job in _jobs(out, tasks, config) if not job[2].is_file()]
    begin, total, frames = time.monotonic(), sum(len(episodes) for _, episodes, _ in jobs), 0
    refused: dict[str, int] = defaultdict(int)
    done = retried = 0
    if not jobs:
        return {"episodes": 0, "frames": 0, "refused": {}, "retried": 0, "seconds": 0.0}
    idle: queue.Queue[Worker] = queue.Queue()
    with start_workers(METAWORLD, python, "demonstrate", min(workers, len(jobs)), config.size, script) as ready:
        for worker in ready:
            idle.put(worker)

        def work(task: Task, episodes: range, path: Path) -> tuple[str, int, int, int, int]:
            worker = idle.get()
            try:
                made = [demonstrate(worker, task, episode, config) for episode in episodes]
            finally:
                idle.put(worker)
            write_shard(path, [frames for frames, _, _ in made])
            kept = sum(len(frames["step"]) for frames, _, _ in made)
            return task.name, len(made), kept, sum(r for _, r, _ in made), sum(r for _, _, r in made)

        with ThreadPoolExecutor(len(ready)) as threads:
            waiting = [threads.submit(work, *job) for job in jobs]
            try:
                for future in as_completed(waiting):
                    name, episodes, kept, scenes, noises = future.result()
                    done, frames, retried = done + episodes, frames + kept, retried + noises
                    refused[name] += scenes
                    spent = time.monotonic() - begin
                    print(f"{done}/{total} episodes, {frames} frames, {done / spent:.2f} episodes/s", flush=True)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                for worker in ready:
                    worker.kill()  # else the threads would finish their shards first
                raise
    failed = {name: count for name, count in refused.items() if count}
    seconds = time.monotonic() - begin
    return {"episodes": done, "frames": frames, "refused": failed, "retried": retried, "seconds": seconds}


def _jobs(out: Path, tasks: Sequence[Task], config: DemonstrationConfig) -> Iterator[tuple[Task, range, Path]]:
    for task in tasks:
        for first in range(0, config.per_task, config.per_shard):
            episodes = range(first, min(first + config.per_shard, config.per_task))
            yield task, episodes, out / f"shard_{task.index:02d}_{task.name}_{first:05d}_{len(episodes)}.npz"


def _claim(out: Path, config: DemonstrationConfig) -> None:
    """Write what the folder's demonstrations are like, or compare."""
    kind = {name: value for name, value in asdict(config).items() if name not in ("per_task", "per_shard")}
    path = out / "demonstrations.json"
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known != kind:
            raise ConfigError(f"{out} with demonstrations of {known}", f"{kind}", "choose another folder")
        return
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kind, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of Meta-World's virtual environment")
    parser.add_argument("--tasks", nargs="*", default=[], help="names or groups (default: all 50)")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    for name in ("per_task", "size", "horizon", "stride", "linger", "per_shard"):
        default = DemonstrationConfig.__dataclass_fields__[name].default
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    a = vars(parser.parse_args())
    out, python, tasks, workers = (a.pop(name) for name in ("out", "python", "tasks", "workers"))
    print(json.dumps(generate(out, python, select(tasks), DemonstrationConfig(**a), workers)))


if __name__ == "__main__":
    main()
