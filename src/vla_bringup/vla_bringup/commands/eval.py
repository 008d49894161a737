"""`vla eval`: success rate of a policy over seeded episodes, in one process or through the whole node graph."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import asdict

from vla_bringup.core.scores import Score, rows
from vla_bringup.graph import GraphOptions, simulated_graph
from vla_bringup.results import markdown_table, merge, publish, save, table
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import config_path, workspace_root

SUITES = ("tabletop",)
#: Training draws its seeds from 0 upwards; evaluation starts far above, so every pose is held out.
FIRST_SEED = 10_000_000
KEYS = ("policy", "split", "task")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla eval`."""
    parser.add_argument("--policy", default=GraphOptions.describe()["policy"][0], help="policy preset")
    parser.add_argument("--suite", default="tabletop", help=f"one of: {', '.join(SUITES)}")
    parser.add_argument("--episodes", type=int, default=200, help="number of episodes (default 200)")
    parser.add_argument("--split", default="heldout_pose", help="train, heldout_pose, heldout_pair or heldout_phrase")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="seed of the first episode")
    parser.add_argument("--graph", action="store_true", help="through the node graph, in lockstep")
    parser.add_argument("--workers", type=int, default=2, help="processes, without --graph (default 2)")
    parser.add_argument("--publish", action="store_true", help="write docs/results/<suite>.json and docs/results.md")


def run(args: argparse.Namespace) -> int:
    """Score a policy; 0 when every episode was played.

    Raises:
        VlaError: an unknown name, or a policy that can't be loaded.
    """
    from vla_sim.core.tasks import SPLITS

    for kind, name, known in (("suite", args.suite, SUITES), ("split", args.split, SPLITS)):
        if name not in known:
            raise UnknownNameError(kind, name, known)
    if args.episodes < 1:
        raise ConfigError(f"{args.episodes} episodes", "at least 1", "give --episodes")
    config_path("policies", args.policy)
    scores: list[Score] = []
    for score in _graph_scores(args) if args.graph else _rig_scores(args):
        scores.append(score)
        won = sum(s.success for s in scores)
        verdict = "ok  " if score.success else "FAIL"
        print(f"{len(scores):4d}/{args.episodes} {verdict} {won / len(scores):5.1%}  {score.instruction}", flush=True)
    name = f"{args.policy} (node graph)" if args.graph else args.policy
    made = rows(name, args.split, scores)
    content = table(_command(args), made)
    save(args.out, "result", {"success": True, **content, "episodes": [asdict(score) for score in scores]})
    if args.publish:
        path = workspace_root() / "docs" / "results" / f"{args.suite}.json"
        publish(args.suite, content | {"rows": merge(path, made, KEYS)})
    print(markdown_table(made))
    return 0


def _command(args: argparse.Namespace) -> str:
    words = ["./vla", "eval", "--policy", args.policy, "--suite", args.suite, "--episodes", str(args.episodes)]
    words += ["--split", args.split]
    words += ["--seed", str(args.seed)] if args.seed != FIRST_SEED else []
    words += ["--graph"] if args.graph else []
    return shlex.join([*words, "--publish"])


def _rig_scores(args: argparse.Namespace) -> Iterator[Score]:
    """Episodes of the in-process rig, as they end."""
    from vla_sim.evaluate import evaluate

    for episode in evaluate(args.policy, args.episodes, args.split, args.seed, args.workers):
        yield Score(episode.seed, episode.family, episode.instruction, episode.success, tuple(episode.ms_per_chunk))


def _graph_scores(args: argparse.Namespace) -> Iterator[Score]:
    """Episodes of the node graph: reset, goal, judge."""
    from vla_bringup.watched import WatchedGraph, new_link
    from vla_sim.core.tasks import FAMILIES

    options = GraphOptions(policy=args.policy, seed=args.seed, split=args.split, link=new_link())
    with WatchedGraph(simulated_graph(options), args.out, print, images=False) as graph:
        for seed in range(args.seed, args.seed + args.episodes):
            instruction = graph.session.reset(seed, split=args.split, family=_family(seed, args.split, FAMILIES))
            before = len(graph.recording.chunks)
            done = graph.carry_out(instruction, 0.0, lambda stage, subtask: None)
            times = tuple(1e3 * chunk.inference_s for chunk in graph.recording.chunks[before:])
            yield Score(seed, done.truth["family"], instruction, bool(done.truth["success"]), times)


def _family(seed: int, split: str, families: tuple[str, ...]) -> str:
    """Families take turns, except where a split only has some of them: there the seed draws."""
    return "" if split == "heldout_pair" else families[seed % len(families)]
