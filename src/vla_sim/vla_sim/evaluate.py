"""Score a policy in the in-process rig: held-out episodes in parallel, judged by ground truth outside the policy."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

import torch

from vla_core.contract import load_contract
from vla_core.errors import UnknownNameError
from vla_core.types import Float32, Observation, Running
from vla_policy.core.drawing.correction import correction_of
from vla_policy.core.policy import load_policy
from vla_policy.core.preset import EXPERT, load_preset
from vla_sim.core.delays import DelayModel
from vla_sim.core.rig import Episode, Player, Rig, run_episode
from vla_sim.core.scene_parts import load_scene
from vla_sim.core.suites import played_alone

_WORKER: dict[tuple[str, str], tuple[Rig, Player]] = {}


def evaluate(
    policy: str,
    episodes: int,
    split: str,
    seed: int,
    workers: int,
    weights: str | None = None,
    suite: str = "tabletop",
    strategy: str = "",
    delay: DelayModel | None = None,
) -> Iterator[Episode]:
    """Yield `episodes` episodes with seeds seed, seed + 1, … as they end; families take turns where a split has all.

    Args:
        policy: Name of the preset.
        episodes: How many.
        split: See `tasks.SPLITS`.
        seed: First seed.
        workers: Processes.
        weights: Weight file instead of the preset's.
        suite: Name of the scene file whose tasks are played.
        strategy: Of the executor, instead of the one in config/control.yaml.
        delay: Of the policy's answers, in simulated time.

    Raises:
        UnknownNameError: no such suite, or it has no such split.
        PolicyError: the policy can't be loaded.
    """
    known = played_alone(suite).splits
    if split not in known:
        raise UnknownNameError("split", split, known)
    jobs = [(policy, seed + k, suite, split, weights, strategy, delay) for k in range(episodes)]
    with multiprocessing.get_context("spawn").Pool(workers, _share, (workers,)) as pool:
        yield from pool.imap_unordered(_play, jobs)


def _share(workers: int) -> None:
    """Take this worker's part of the cores: threads that wait for cores of others made episodes ten times slower."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


def _play(job: tuple[str, int, str, str, str | None, str, DelayModel | None]) -> Episode:
    policy, seed, suite, split, weights, strategy, delay = job
    if (policy, suite) not in _WORKER:
        _WORKER[policy, suite] = _prepare(policy, suite, weights)
    rig, player = _WORKER[policy, suite]
    family = rig.suite.turn(seed, split) or None
    rig.executor.use(strategy or rig.executor.params.strategy)
    return run_episode(rig, player, seed, split, family, delay=delay)


def _prepare(policy: str, scene: str, weights: str | None) -> tuple[Rig, Player]:
    preset = load_preset(policy)
    contract = load_contract(preset.contract or load_scene(scene)["contract"])
    if preset.policy == EXPERT:
        rig = Rig(contract, scene, render=False)
        suite, world = rig.suite, rig.world
        return rig, Player(
            lambda *_: (suite.clean_chunk(world, contract.horizon, contract.dt_s), float(suite.succeeded(world))),
            policy,
        )
    model = load_policy(policy, contract, weights=weights)

    def act(observation: Observation, running: Running) -> tuple[Float32, float]:
        output = model.predict(observation, observation.stamp_ns % 2**31, running)
        return output.actions, output.success_estimate

    return Rig(contract, scene, render=bool(contract.cameras)), Player(
        act, policy, model.strategies, correction_of(model, contract)
    )
