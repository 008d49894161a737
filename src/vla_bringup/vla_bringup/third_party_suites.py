"""Benchmarks of others, each in a virtual environment of its own, under our contract: `./vla eval --suite NAME`."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vla_bringup.results import Row, markdown_table, publish, save, table
from vla_core.contract import Contract, load_contract
from vla_core.errors import ConfigError
from vla_core.files import workspace_root
from vla_core.types import Float32, Observation
from vla_policy.core.policy import Policy, load_policy
from vla_policy.core.preset import load_preset

if TYPE_CHECKING:
    from vla_sim.metaworld.evaluation import MetaworldEpisode

_CM = 0.01  # an action of 1 moves Meta-World's tool by 1 cm
_EXECUTE = 8  # of 16 steps


class MetaworldPolicy:
    """A policy for the contract `metaworld_sawyer` as Meta-World's evaluation asks it."""

    def __init__(self, policy: Policy, contract: Contract) -> None:
        self._policy, self._contract = policy, contract

    def act(self, rgb: NDArray[np.uint8], state: Float32, instruction: str) -> Float32:
        """See `vla_sim.metaworld.evaluation.ChunkPolicy`; the sampling noise follows from the state."""
        contract = self._contract
        observation = Observation(
            stamp_ns=1,
            instruction=instruction,
            contract_hash=contract.hash,
            view_names=contract.view_names,
            view_valid=np.ones(1, np.bool_),
            rgb=rgb[None],
            state_names=contract.state_names,
            state=np.asarray(state, np.float32),
        )
        actions = self._policy.predict(observation, zlib.crc32(observation.state.tobytes())).actions
        return np.concatenate([actions[:, :3] / _CM, actions[:, 6:]], 1).astype(np.float32)


def _metaworld(args: argparse.Namespace) -> list[Row]:
    from vla_bringup.core.metaworld_scores import rows
    from vla_bringup.setup.third_party import ensure
    from vla_sim.metaworld.evaluation import EVO1_STEPS, EvaluationConfig, evaluate
    from vla_sim.metaworld.tasks import select
    from vla_sim.metaworld.worker import MAX_STEPS

    contract = load_contract(load_preset(args.policy).contract)
    policy = MetaworldPolicy(load_policy(args.policy, contract), contract)
    tasks = select(args.task.split(",") if args.task else ())
    per_task = 10 if args.episodes is None else args.episodes
    config = EvaluationConfig(episodes=per_task, execute=_EXECUTE, size=contract.cameras[0].width, workers=args.workers)
    played: list[MetaworldEpisode] = []
    for episode in evaluate(policy, ensure(workspace_root(), "metaworld"), tasks, config):
        played.append(episode)
        won = sum(e.success for e in played)
        verdict = "ok  " if episode.success else "FAIL"
        total = len(tasks) * per_task
        print(f"{len(played):4d}/{total} {verdict} {won / len(played):5.1%}  {episode.task}", flush=True)
    return [*rows(args.policy, played, EVO1_STEPS), *rows(args.policy, played, MAX_STEPS)]


#: Suite → (published file, default policy, what plays it).
THIRD_PARTY: dict[str, tuple[str, str, Callable[[argparse.Namespace], list[Row]]]] = {
    "metaworld-mt50": ("metaworld_mt50", "metaworld_flow", _metaworld),
}


def run(args: argparse.Namespace, command: str) -> int:
    """Score a policy on a suite of THIRD_PARTY; 0 when every episode was played.

    Raises:
        ConfigError: an option that the suite doesn't have.
        VlaError: an unknown name, or a policy that can't be loaded.
    """
    if args.graph or args.strategy or args.delay_ms or args.loss:
        expected = "only --policy, --episodes, --task, --workers and --publish"
        raise ConfigError(f"--graph, --strategy or delays with suite '{args.suite}'", expected, "leave them out")
    if args.episodes is not None and args.episodes < 1:
        raise ConfigError(f"{args.episodes} episodes", "at least 1", "give --episodes")
    name, default, play = THIRD_PARTY[args.suite]
    args.policy = args.policy or default
    made = play(args)
    content = table(command, made)
    save(args.out, "result", {"success": True, **content})
    if args.publish:
        publish(name, content)
    print(markdown_table([row for row in made if row["task"] == "all"]))
    return 0
