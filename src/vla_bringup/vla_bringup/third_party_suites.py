"""Benchmarks of others, each in a virtual environment of its own, under our contract: `./vla eval --suite NAME`."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_bringup.core.third_party_scores import rows
from vla_bringup.results import Row, markdown_table, publish, save, table
from vla_bringup.setup.third_party import ensure
from vla_core.contract import Contract, load_contract
from vla_core.errors import ConfigError
from vla_core.files import workspace_root
from vla_core.types import Float32, Observation
from vla_policy.core.policy import Policy, load_policy
from vla_policy.core.preset import load_preset
from vla_sim.libero import tasks as libero_tasks
from vla_sim.libero.benchmark import LIBERO_SPATIAL, to_libero
from vla_sim.metaworld import tasks as metaworld_tasks
from vla_sim.metaworld.benchmark import EVO1_STEPS, METAWORLD, to_metaworld
from vla_sim.third_party.benchmark import Benchmark, Task
from vla_sim.third_party.evaluation import EvaluationConfig, ScoredEpisode, evaluate


@dataclass(frozen=True, slots=True)
class Suite:
    """A benchmark as `vla eval` offers it.

    Attributes:
        benchmark: What is played.
        environment: Its virtual environment, a name of `setup.third_party`.
        contract: What a policy must be made for; another horizon, fewer views and other sizes are fine.
        policy: Preset that ships for it, or empty.
        select: Tasks by name.
        to_benchmark: Actions of the contract in the benchmark's own units.
        episodes: Of each task.
        execute: Actions of a chunk that are executed before the next one is asked for, if it has so many.
        limits: Steps after which success no longer counts; rows for each.
        groups: Of tasks, in the order of the table.
    """

    benchmark: Benchmark
    environment: str
    contract: str
    policy: str
    select: Callable[[Iterable[str]], Sequence[Task]]
    to_benchmark: Callable[[Float32], Float32]
    episodes: int
    execute: int
    limits: tuple[int, ...]
    groups: tuple[str, ...] = ()


#: By the name that `--suite` takes.
THIRD_PARTY: dict[str, Suite] = {
    "metaworld-mt50": Suite(
        METAWORLD, "metaworld", "metaworld_sawyer", "metaworld_flow", metaworld_tasks.select, to_metaworld, 10, 8,
        (EVO1_STEPS, METAWORLD.limit), metaworld_tasks.GROUPS,
    ),
    "libero-spatial": Suite(
        LIBERO_SPATIAL, "libero", "libero_panda", "", libero_tasks.select, to_libero, len(LIBERO_SPATIAL.seeds), 8,
        (LIBERO_SPATIAL.limit,),
    ),
}  # fmt: skip


class SuitePolicy:
    """A policy under our contract as a benchmark's evaluation asks it."""

    def __init__(self, policy: Policy, contract: Contract, suite: Suite) -> None:
        self._policy, self._contract, self._suite = policy, contract, suite
        self._views = [suite.benchmark.views.index(name) for name in contract.view_names]

    def act(self, rgb: NDArray[np.uint8], state: Float32, instruction: str) -> Float32:
        """See `vla_sim.third_party.evaluation.ChunkPolicy`; the sampling noise follows from the state."""
        contract = self._contract
        observation = Observation(
            stamp_ns=1,
            instruction=instruction,
            contract_hash=contract.hash,
            view_names=contract.view_names,
            view_valid=np.ones(len(self._views), np.bool_),
            rgb=rgb[self._views],
            state_names=contract.state_names,
            state=np.asarray(state, np.float32),
        )
        actions = self._policy.predict(observation, zlib.crc32(observation.state.tobytes())).actions
        return self._suite.to_benchmark(actions)


def check_contract(contract: Contract, suite: Suite) -> None:
    """Refuse a contract of another robot, or of views, state or actions that the suite doesn't have.

    Raises:
        ConfigError: says what differs.
    """
    ours = load_contract(suite.contract)
    differs = [
        name
        for name in ("robot", "state", "action_names", "action_units", "action_parts", "action_rate_hz")
        if getattr(contract, name) != getattr(ours, name)
    ]
    if not contract.view_names or not set(contract.view_names) <= set(suite.benchmark.views):
        differs.append(f"views {list(contract.view_names)}")
    if not differs and any(camera.width != camera.height for camera in contract.cameras):
        differs.append("images that aren't square")
    if differs:
        got = f"a policy for contract {contract.name}, with another {', '.join(differs)}"
        expected = f"robot, state and actions of {ours.name}.yaml and square views out of {list(suite.benchmark.views)}"
        raise ConfigError(got, expected, f"choose a policy that was made for {ours.robot}")


def load(suite: str, name: str, weights: str) -> tuple[Policy, Contract]:
    """A policy for a suite, and its contract.

    Args:
        suite: Name in THIRD_PARTY.
        name: Preset.
        weights: File or folder of the weights instead of the preset's; may be empty.

    Raises:
        ConfigError: no policy, no weights, or a policy of another contract.
        VlaError: an unknown name, or a policy that can't be loaded.
    """
    needed = f"a preset with contract '{THIRD_PARTY[suite].contract}' and its weights on this machine"
    fix = "give --policy NAME --weights FOLDER, see docs/published_weights.md"
    if not name:
        raise ConfigError(f"suite '{suite}' without a policy; none ships for it", needed, fix)
    preset = load_preset(name)
    contract = load_contract(preset.contract)
    check_contract(contract, THIRD_PARTY[suite])
    if not (weights or preset.weights):
        raise ConfigError(f"policy '{name}' without weights", needed, fix)
    return load_policy(name, contract, weights=weights or None), contract


def play(args: argparse.Namespace) -> list[Row]:
    """Play the episodes, a line for each; rows of the table."""
    suite = THIRD_PARTY[args.suite]
    policy, contract = load(args.suite, args.policy, args.weights)
    tasks = suite.select(args.task.split(",") if args.task else ())
    config = EvaluationConfig(
        episodes=suite.episodes if args.episodes is None else args.episodes,
        execute=args.execute or min(suite.execute, contract.horizon),
        limit=suite.benchmark.limit,
        size=contract.cameras[0].width,
        workers=args.workers,
    )
    config.check(suite.benchmark)
    played: list[ScoredEpisode] = []
    python = ensure(workspace_root(), suite.environment)
    for episode in evaluate(SuitePolicy(policy, contract, suite), suite.benchmark, python, tasks, config):
        played.append(episode)
        won = sum(e.success for e in played)
        verdict = "ok  " if episode.success else "FAIL"
        total = len(tasks) * config.episodes
        print(f"{len(played):4d}/{total} {verdict} {won / len(played):5.1%}  {episode.task}", flush=True)
    return [row for limit in suite.limits for row in rows(args.policy, played, limit, suite.groups)]


def run(args: argparse.Namespace, command: str) -> int:
    """Score a policy on a suite of THIRD_PARTY; 0 when every episode was played.

    Raises:
        ConfigError: an option that the suite doesn't have.
        VlaError: an unknown name, or a policy that can't be loaded.
    """
    if args.graph or args.strategy or args.delay_ms or args.loss:
        expected = "only --policy, --weights, --episodes, --task, --execute, --workers and --publish"
        raise ConfigError(f"--graph, --strategy or delays with suite '{args.suite}'", expected, "leave them out")
    args.policy = args.policy or THIRD_PARTY[args.suite].policy
    made = play(args)
    content = table(command, made)
    save(args.out, "result", {"success": True, **content})
    if args.publish:
        publish(args.suite.replace("-", "_"), content)
    print(markdown_table([row for row in made if row["task"] == "all"]))
    return 0
