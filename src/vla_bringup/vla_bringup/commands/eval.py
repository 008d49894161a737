"""`vla eval`: success rate of a policy over seeded episodes, in one process or through the whole node graph."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vla_bringup import fetch_suite, machine, third_party_suites
from vla_bringup.core.scores import Score, rows
from vla_bringup.graph import SHIPPED, GraphOptions, simulated_graph
from vla_bringup.results import markdown_table, publish, save, table
from vla_bringup.third_party_suites import THIRD_PARTY
from vla_control.core.parameters import ExecutorParameters
from vla_control.core.strategies.registry import make_strategy
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import config_path
from vla_sim.core.scene_parts import load_scene
from vla_sim.core.suites import SUITES, played_alone, suite_of

if TYPE_CHECKING:
    from vla_sim.core.rig import Episode

#: Training draws its seeds from 0 upwards; evaluation starts far above, so every pose is held out.
FIRST_SEED = 10_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """One group of rows: episodes of a split under one policy, in one process or through the node graph."""

    policy: str
    split: str
    episodes: int
    graph: bool = False

    @property
    def name(self) -> str:
        """Policy as the table names it."""
        return f"{self.policy} (node graph)" if self.graph else self.policy


#: What docs/results/<suite>.json holds.
PUBLISHED = {
    "tabletop": (
        Part(SHIPPED, "heldout_pose", 200),
        Part(SHIPPED, "heldout_pair", 100),
        Part(SHIPPED, "heldout_phrase", 100),
        Part(SHIPPED, "heldout_pose", 24, graph=True),
        Part("scripted_expert", "heldout_pose", 400),
    ),
    "aloha": (
        Part("scripted_expert", "heldout_pose", 200),
        Part("scripted_expert", "heldout_pose", 12, graph=True),
    ),
    "flat": (
        Part("fetch_flow", "heldout_flat", 100),
        Part("scripted_expert", "heldout_flat", 100),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla eval`."""
    parser.add_argument("--policy", default="", help="policy preset (default: the one that ships for the suite)")
    parser.add_argument("--suite", default="tabletop", help=f"one of: {', '.join((*SUITES, 'fetch', *THIRD_PARTY))}")
    parser.add_argument(
        "--episodes", type=int, default=None, help="how many (default 200; fetch 50; per task: metaworld 10, libero 50)"
    )
    parser.add_argument("--task", default="", help="tasks or groups of tasks, separated by commas (metaworld, libero)")
    parser.add_argument("--weights", default="", help="weights instead of the preset's (metaworld, libero)")
    parser.add_argument("--execute", type=int, default=0, help="steps of a chunk that are executed (metaworld, libero)")
    parser.add_argument("--split", default="", help="which scenes, pairs and phrases (default: held-out scenes)")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="seed of the first episode")
    parser.add_argument("--graph", action="store_true", help="through the node graph, in lockstep")
    parser.add_argument("--strategy", default="", help="how chunks are executed, instead of config/control.yaml's")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="simulated time until an answer arrives")
    parser.add_argument("--jitter-ms", type=float, default=0.0, help="how much a delay differs from that at most")
    parser.add_argument("--loss", type=float, default=0.0, help="share of answers that never arrive, 0..1")
    parser.add_argument("--workers", type=int, default=2, help="processes, without --graph (default 2)")
    parser.add_argument(
        "--publish", action="store_true",
        help="play all that docs/results/<suite>.json holds, whatever --policy, --split and --episodes say, and"
        " write it; interrupted, the same command goes on",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Score a policy, or everything that is published; 0 when every episode was played.

    Raises:
        VlaError: an unknown name, or a policy that can't be loaded.
    """
    if args.suite in THIRD_PARTY:
        return third_party_suites.run(args, _third_party_command(args))
    if args.suite == fetch_suite.NAME:
        _refuse(args, ("task", "weights", "execute", "graph", "strategy", "delay_ms", "jitter_ms", "loss"))
        return fetch_suite.run(args, FIRST_SEED)
    if args.suite not in SUITES:
        raise UnknownNameError("suite", args.suite, (*SUITES, fetch_suite.NAME, *THIRD_PARTY))
    _refuse(args, ("task", "weights", "execute"))
    suite = suite_of(args.suite) if args.graph else played_alone(args.suite)
    args.split = args.split or suite.splits[1]
    args.policy = args.policy or str(load_scene(args.suite)["policy"])
    args.episodes = 200 if args.episodes is None else args.episodes
    part = Part(args.policy, args.split, args.episodes, args.graph)
    if part.split not in suite.splits:
        raise UnknownNameError("split", part.split, suite.splits)
    if part.episodes < 1:
        raise ConfigError(f"{part.episodes} episodes", "at least 1", "give --episodes")
    config_path("policies", part.policy)
    if args.publish and args.suite not in PUBLISHED:
        fix = "the tables of the others are made by ./vla bench executor"
        raise ConfigError(f"--publish of suite '{args.suite}'", ", ".join(PUBLISHED), fix)
    if args.publish:
        return _publish(args)
    return _execute(args, part) if _delayed(args) else _score(args, part)


def _refuse(args: argparse.Namespace, options: Sequence[str]) -> None:
    """Nothing that was asked for is left out silently."""
    for option in options:
        if getattr(args, option):
            name = f"--{option.replace('_', '-')}"
            raise ConfigError(f"{name} with suite '{args.suite}'", "a suite that takes it", f"leave {name} out")


def _delayed(args: argparse.Namespace) -> bool:
    return bool(args.strategy or args.delay_ms or args.jitter_ms or args.loss)


def _execute(args: argparse.Namespace, part: Part) -> int:
    """Score how chunks are executed: a strategy under delays, in one process."""
    from vla_bringup.core.execution_scores import execution_row
    from vla_sim.core.delays import DelayModel
    from vla_sim.evaluate import evaluate

    if part.graph:
        raise ConfigError("--graph with delays", "one of them", "delays are injected in the in-process rig")
    if args.jitter_ms > args.delay_ms:
        raise ConfigError(f"a jitter of {args.jitter_ms:g} ms", f"at most the delay, {args.delay_ms:g} ms", "lower it")
    strategy = args.strategy or ExecutorParameters.from_config().strategy
    make_strategy(strategy, ExecutorParameters.from_config().strategies)  # an unknown name ends here, in one sentence
    delay = DelayModel(1e-3 * args.delay_ms, args.jitter_ms / args.delay_ms if args.delay_ms else 0.0, args.loss)
    found: list[Episode] = []
    workers = (part.policy, part.episodes, part.split, args.seed, args.workers)
    for episode in evaluate(*workers, suite=args.suite, strategy=strategy, delay=delay):
        found.append(episode)
        won = sum(e.success for e in found)
        verdict = "ok  " if episode.success else "FAIL"
        print(f"{len(found):4d}/{part.episodes} {verdict} {won / len(found):5.1%}  {episode.instruction}", flush=True)
    row = execution_row(strategy, f"{args.suite} {part.split}", delay, found)
    save(args.out, "result", {"success": True, **table(_command(args), [row])})
    print(markdown_table([row]))
    return 0


def _score(args: argparse.Namespace, part: Part) -> int:
    scores = _play(part, args)
    made = rows(part.name, part.split, scores)
    content = table(_command(args), made) | {"success": True, "episodes": [asdict(score) for score in scores]}
    save(args.out, "result", content)
    print(markdown_table(made))
    return 0


def _publish(args: argparse.Namespace) -> int:
    """Play the parts of the published table; those that this very code has played into --out already are kept."""
    all_rows: list[dict[str, Any]] = []
    revision = machine.exact_revision()  # None may stand for other code
    for part in PUBLISHED[args.suite]:
        path = args.out / f"{part.name}_{part.split}.json".replace(" ", "_")
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        key = {"revision": revision, "seed": args.seed, "part": asdict(part)}
        if revision is None or any(known.get(name) != value for name, value in key.items()):
            print(f"{part.name}, {part.split}: {part.episodes} episodes", flush=True)
            scores = _play(part, args)
            known = key | {"rows": rows(part.name, part.split, scores)}
            save(args.out, path.stem, known | {"episodes": [asdict(score) for score in scores]})
        all_rows += known["rows"]
    words = ["./vla", "eval", "--suite", args.suite, *(["--seed", str(args.seed)] if args.seed != FIRST_SEED else [])]
    content = table(shlex.join([*words, "--publish"]), all_rows)
    save(args.out, "result", {"success": True, **content})
    publish(args.suite, content)
    print(markdown_table(all_rows))
    return 0


def _play(part: Part, args: argparse.Namespace) -> list[Score]:
    """Play the episodes of a part, a line for each."""
    scores: list[Score] = []
    for score in _graph_scores(part, args) if part.graph else _rig_scores(part, args):
        scores.append(score)
        won = sum(s.success for s in scores)
        verdict = "ok  " if score.success else "FAIL"
        print(f"{len(scores):4d}/{part.episodes} {verdict} {won / len(scores):5.1%}  {score.instruction}", flush=True)
    return scores


def _command(args: argparse.Namespace) -> str:
    words = ["./vla", "eval", "--policy", args.policy, "--suite", args.suite, "--episodes", str(args.episodes)]
    words += ["--split", args.split]
    words += ["--seed", str(args.seed)] if args.seed != FIRST_SEED else []
    for option in ("strategy", "delay_ms", "jitter_ms", "loss"):
        words += [f"--{option.replace('_', '-')}", str(getattr(args, option))] if getattr(args, option) else []
    return shlex.join([*words, *(["--graph"] if args.graph else [])])


def _third_party_command(args: argparse.Namespace) -> str:
    words = ["./vla", "eval", "--suite", args.suite, *(["--policy", args.policy] if args.policy else [])]
    for option in ("weights", "episodes", "task", "execute"):
        words += [f"--{option}", str(getattr(args, option))] if getattr(args, option) else []
    return shlex.join([*words, "--publish"])


def _rig_scores(part: Part, args: argparse.Namespace) -> Iterator[Score]:
    """Episodes of the in-process rig, as they end."""
    from vla_sim.evaluate import evaluate

    for episode in evaluate(part.policy, part.episodes, part.split, args.seed, args.workers, suite=args.suite):
        yield Score(episode.seed, episode.family, episode.instruction, episode.success, tuple(episode.ms_per_chunk))


def _graph_scores(part: Part, args: argparse.Namespace) -> Iterator[Score]:
    """Episodes of the node graph: reset, goal, judge."""
    from vla_bringup.watched import WatchedGraph, new_link

    suite = suite_of(args.suite)
    options = GraphOptions.of_scene(args.suite, policy=part.policy, seed=args.seed, split=part.split, link=new_link())
    with WatchedGraph(simulated_graph(options), args.out, print, images=False) as graph:
        for seed in range(args.seed, args.seed + part.episodes):
            instruction = graph.session.reset(seed, split=part.split, family=suite.turn(seed, part.split))
            before = len(graph.recording.chunks)
            done = graph.carry_out(instruction, 0.0, lambda stage, subtask: None)
            times = tuple(1e3 * chunk.inference_s for chunk in graph.recording.chunks[before:])
            yield Score(seed, done.truth["family"], instruction, bool(done.truth["success"]), times)
