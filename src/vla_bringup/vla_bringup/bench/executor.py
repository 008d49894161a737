"""`vla bench executor`: every execution strategy under every delay, on things that lie still and on things that move.

Delays pass in simulated time and follow from the seed, so the table is the same on any machine. Rows that this very
code has made into --out are kept, so that a long run can be interrupted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

from vla_bringup import machine
from vla_bringup.bench.executor_plots import plot
from vla_bringup.core.execution_scores import execution_row
from vla_bringup.results import save
from vla_control.core.strategies.registry import STRATEGIES
from vla_core.errors import ConfigError, UnknownNameError
from vla_core.files import workspace_root
from vla_sim.core.delays import DelayModel
from vla_sim.core.scene_parts import load_scene

DELAYS_MS = (0.0, 50.0, 100.0, 200.0, 400.0)
JITTER, LOSS = 0.3, 0.05  # wherever there is a delay at all
FIRST_SEED = 20_000_000
QUICK = {"strategy": ("naive_async", "rtc_prefix"), "delay_ms": (0.0, 400.0), "episodes": 8, "task": ("turntable",)}
TASKS = ("tabletop", "turntable")
Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench executor`."""
    parser.add_argument("--quick", action="store_true", help="two strategies, two delays, few episodes")
    parser.add_argument("--episodes", type=int, default=50, help="per row (default 50)")
    parser.add_argument("--strategy", default="", help="only this one")
    parser.add_argument("--task", default="", help=f"only this suite, one of: {', '.join(TASKS)}")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again; of what is published, always the whole table."""
    words = ["--quick"] if args.quick else ["--episodes", str(args.episodes)]
    if args.publish:
        return words
    words += ["--strategy", args.strategy] if args.strategy else []
    return words + (["--task", args.task] if args.task else [])


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """Rows of `docs/results/executor.json`, and with --publish the plots beside it.

    With --strategy or --task they take the place of those in the published table, whose others stay, each with the
    revision that it was measured at.

    Raises:
        ConfigError: --quick with --publish.
        UnknownNameError: no such strategy or suite.
        VlaError: a policy can't be loaded.
    """
    for kind, name, known in (("strategy", args.strategy, STRATEGIES), ("task", args.task, TASKS)):
        if name and name not in known:
            raise UnknownNameError(kind, name, known)
    if args.quick and args.publish:
        raise ConfigError("--quick with --publish", "one of them", "publish a table of enough episodes")
    rows = [_row(args, strategy, task, delay_ms, say) for task, strategy, delay_ms in grid(args)]
    if args.publish:
        rows = merged(_published(), rows)
        for path in plot(rows, workspace_root() / "docs" / "images"):
            say(f"wrote {path.relative_to(workspace_root())}")
    return rows


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The new rows in the places of old ones of the same task, strategy and delay, and the other old ones."""

    def place(row: Row) -> tuple[int, int, float]:
        return TASKS.index(row["task"]), list(STRATEGIES).index(row["strategy"]), row["delay_ms"]

    by_place = {place(row): row for row in (*old, *new)}
    return [by_place[key] for key in sorted(by_place)]


def _published() -> list[Row]:
    path = workspace_root() / "docs" / "results" / "executor.json"
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return rows


def grid(args: argparse.Namespace) -> list[tuple[str, str, float]]:
    """Task, strategy and delay [ms] of every row."""
    tasks = [args.task] if args.task else [t for t in TASKS if not args.quick or t in QUICK["task"]]
    strategies = (
        [args.strategy] if args.strategy else [s for s in STRATEGIES if not args.quick or s in QUICK["strategy"]]
    )
    delays = QUICK["delay_ms"] if args.quick else DELAYS_MS
    return [(t, s, d) for t in tasks for s in strategies for d in delays]


def _row(args: argparse.Namespace, strategy: str, task: str, delay_ms: float, say: Callable[[str], None]) -> Row:
    from vla_sim.evaluate import evaluate

    episodes = int(QUICK["episodes"]) if args.quick else args.episodes
    name = f"{task}_{strategy}_{delay_ms:g}ms"
    path = args.out / f"{name}.json"
    key = {"revision": machine.exact_revision(), "episodes": episodes}
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if key["revision"] is None or any(known.get(k) != v for k, v in key.items()):
        delay = DelayModel(1e-3 * delay_ms, JITTER, LOSS) if delay_ms else DelayModel()
        played = evaluate(
            str(load_scene(task)["policy"]), episodes, "heldout_pose", FIRST_SEED, args.workers,
            suite=task, strategy=strategy, delay=delay,
        )  # fmt: skip
        row = execution_row(strategy, task, delay, list(played))
        known = {**key, "row": {**row, "revision": machine.revision()}}
        save(args.out, name, known)
    row = known["row"]
    say(f"{task}, {strategy}, {delay_ms:g} ms: {100 * row['success']:.0f} %")
    return row
