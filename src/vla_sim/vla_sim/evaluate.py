"""Score a policy in the in-process rig: held-out episodes in parallel, judged by ground truth outside the policy."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

from vla_core.contract import load_contract
from vla_core.types import Float32, Observation, Running
from vla_policy.core.policy import load_policy
from vla_policy.core.preset import EXPERT, load_preset
from vla_sim.core.delays import DelayModel
from vla_sim.core.expert import clean_chunk
from vla_sim.core.judge import succeeded
from vla_sim.core.rig import Act, Episode, Rig, run_episode
from vla_sim.core.tasks import FAMILIES

_WORKER: dict[str, tuple[Rig, Act]] = {}


def evaluate(
    policy: str,
    episodes: int,
    split: str,
    seed: int,
    workers: int,
    weights: str | None = None,
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
        strategy: Of the executor, instead of the one in config/control.yaml.
        delay: Of the policy's answers, in simulated time.

    Raises:
        PolicyError: the policy can't be loaded.
    """
    jobs = [(policy, seed + k, split, weights, strategy, delay) for k in range(episodes)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_play, jobs)


def _play(job: tuple[str, int, str, str | None, str, DelayModel | None]) -> Episode:
    policy, seed, split, weights, strategy, delay = job
    if policy not in _WORKER:
        _WORKER[policy] = _prepare(policy, weights)
    rig, act = _WORKER[policy]
    family = None if split == "heldout_pair" else FAMILIES[seed % len(FAMILIES)]
    rig.executor.use(strategy or rig.executor.params.strategy)
    return run_episode(rig, act, seed, split, family, delay=delay)


def _prepare(policy: str, weights: str | None) -> tuple[Rig, Act]:
    preset = load_preset(policy)
    contract = load_contract(preset.contract)
    if preset.policy == EXPERT:
        rig = Rig(contract, render=False)
        return rig, lambda *_: (clean_chunk(rig.world, contract.horizon, contract.dt_s), float(succeeded(rig.world)))
    model = load_policy(policy, contract, weights=weights) if weights else load_policy(policy, contract)

    def act(observation: Observation, running: Running) -> tuple[Float32, float]:
        output = model.predict(observation, observation.stamp_ns % 2**31, running)
        return output.actions, output.success_estimate

    return Rig(contract), act
