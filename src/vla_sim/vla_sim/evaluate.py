"""Score a policy in the in-process rig: held-out episodes in parallel, judged by ground truth outside the policy."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

from vla_core.contract import load_contract
from vla_core.errors import UnknownNameError
from vla_core.types import Float32, Observation, Running
from vla_policy.core.drawing.correction import ChunkCorrection, Corrector
from vla_policy.core.policy import load_policy
from vla_policy.core.preset import EXPERT, load_preset
from vla_sim.core.catch_expert import catch_chunk
from vla_sim.core.delays import DelayModel
from vla_sim.core.expert import clean_chunk
from vla_sim.core.judge import succeeded
from vla_sim.core.rig import Episode, Player, Rig, run_episode
from vla_sim.core.suites import SUITES
from vla_sim.core.tasks import FAMILIES

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
        policy: Name of the preset; 'scripted_expert' is the suite's own.
        episodes: How many.
        split: See `tasks.SPLITS`; which of them a suite has, see SUITES.
        seed: First seed.
        workers: Processes.
        weights: Weight file instead of the preset's.
        suite: One of SUITES.
        strategy: Of the executor, instead of the one in config/control.yaml.
        delay: Of the policy's answers, in simulated time.

    Raises:
        UnknownNameError: no such suite, or the suite has no such split.
        PolicyError: the policy can't be loaded.
    """
    if suite not in SUITES:
        raise UnknownNameError("suite", suite, SUITES)
    scene, splits = SUITES[suite].scene, SUITES[suite].splits
    if split not in splits:
        raise UnknownNameError("split", split, splits)
    jobs = [(policy, seed + k, scene, split, weights, strategy, delay) for k in range(episodes)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_play, jobs)


def _play(job: tuple[str, int, str, str, str | None, str, DelayModel | None]) -> Episode:
    policy, seed, scene, split, weights, strategy, delay = job
    if (policy, scene) not in _WORKER:
        _WORKER[policy, scene] = _prepare(policy, scene, weights)
    rig, player = _WORKER[policy, scene]
    family = FAMILIES[seed % len(FAMILIES)] if scene == "tabletop" and split != "heldout_pair" else None
    rig.executor.use(strategy or rig.executor.params.strategy)
    return run_episode(rig, player, seed, split, family, delay=delay)


def _prepare(policy: str, scene: str, weights: str | None) -> tuple[Rig, Player]:
    preset = load_preset(policy)
    if preset.policy == EXPERT:
        return _expert(scene)
    contract = load_contract(preset.contract)
    model = load_policy(policy, contract, weights=weights)

    def act(observation: Observation, running: Running) -> tuple[Float32, float]:
        output = model.predict(observation, observation.stamp_ns % 2**31, running)
        return output.actions, output.success_estimate

    correction = ChunkCorrection(model, contract) if isinstance(model, Corrector) else None
    return Rig(contract, scene, render=bool(contract.cameras)), Player(act, correction)


def _expert(scene: str) -> tuple[Rig, Player]:
    contract = load_contract(next(s.contract for s in SUITES.values() if s.scene == scene))
    rig = Rig(contract, scene, render=False)
    chunk = catch_chunk if scene == "turntable" else clean_chunk

    def act(observation: Observation, running: Running) -> tuple[Float32, float]:
        return chunk(rig.world, contract.horizon, contract.dt_s), float(succeeded(rig.world))

    return rig, Player(act)
