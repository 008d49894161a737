"""`vla bench NAME`: latency and throughput of one part, on this machine."""

from __future__ import annotations

import argparse
import shlex
import time

from vla_bringup import machine
from vla_bringup.graph import GraphOptions
from vla_bringup.results import markdown_table, publish, save, table
from vla_core.errors import UnknownNameError

NAMES = ("line",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench`."""
    parser.add_argument("name", metavar="NAME", help=f"what to measure, one of: {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each part (default 20)")
    parser.add_argument("--policy", default=GraphOptions.describe()["policy"][0], help="policy preset that answers")
    parser.add_argument("--priority", type=int, default=80, help="SCHED_FIFO priority of the loops; 0: none")
    parser.add_argument("--publish", action="store_true", help="write docs/results/NAME.json and docs/results.md")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 when everything was measured.

    Raises:
        VlaError: an unknown name, or a part that can't run.
    """
    if args.name not in NAMES:
        raise UnknownNameError("benchmark", args.name, NAMES)
    from vla_bringup.bench.line import measure

    begin = time.monotonic()
    rows = measure(
        args.out, args.policy, args.seconds, args.priority,
        lambda text: print(f"[{time.monotonic() - begin:6.1f} s] {text}", flush=True),
    )  # fmt: skip
    content = table(shlex.join(["./vla", "bench", args.name, "--seconds", f"{args.seconds:g}", "--publish"]), rows)
    save(args.out, "result", {"success": True, **content})
    if args.publish:
        publish(args.name, content)
    print(f"\n{machine.sentence(content['machine'])}\n\n{markdown_table(rows)}")
    return 0
