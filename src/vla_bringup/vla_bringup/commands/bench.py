"""`vla bench NAME`: one part measured on this machine; every part is a module of vla_bringup.bench.

Such a module has `add_arguments(parser)`, `measure(args, say) -> rows` and `repeat(args) -> options`, which are those
that lead to the same table again; one that also judges has `passed(rows) -> bool`, and one whose table has another name
than itself `TABLE`.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import time
from pathlib import Path
from typing import Any

from vla_bringup import machine
from vla_bringup.results import markdown_table, publish, save, table
from vla_core.errors import UnknownNameError

#: Benchmark → what it measures.
BENCHES = {
    "claims": "what the literature says of action heads: modes, sequence lengths, passes",
    "contact": "force on a stiff wall: stiff position, joint and operational-space impedance, with clamp and stop",
    "executor": "execution strategies under delay, jitter and loss, in simulated time",
    "ik": "inverse kinematics of chunks: time per problem and per chunk, with and without barriers, distance kept",
    "line": "from picture to torque: latency, jitter, CPU of every process",
    "policy": "time per chunk of every policy, on CPU cores and on a GPU",
    "policies": "the systems of the literature side by side: success, time per chunk, size, passes",
    "slam": "map and pose from laser scans in generated flats and a corridor: error, time per scan",
    "nav": "goals in flats with people and unmapped furniture: success, collisions, SPL, time per tick",
    "explore": "things that only the camera sees, in unknown flats: found, coverage, against lidar frontiers",
    "map": "things of unknown flats in the semantic map: found, right, where, time per picture",
    "faults": "every fault injected into a running graph, and its answer",
    "mission_faults": "what goes wrong while a robot fetches something in a flat, and how the mission ends",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench`; those of one benchmark follow its name."""
    listed = ", ".join(f"{name} ({summary})" for name, summary in BENCHES.items())
    parser.add_argument("name", metavar="NAME", help=f"what to measure, one of: {listed}")
    parser.add_argument("--publish", action="store_true", help="write docs/results/NAME.json and docs/results.md")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="its own options; NAME --help tells them")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 when everything was measured, and passed where it is judged.

    Raises:
        VlaError: an unknown name, or a part that can't run.
    """
    common, args.options = _common().parse_known_args(args.options)
    args.out, args.publish = common.out or args.out, common.publish or args.publish
    if args.name not in BENCHES:
        raise UnknownNameError("benchmark", args.name, BENCHES)
    module: Any = importlib.import_module(f"vla_bringup.bench.{args.name}")
    begin = time.monotonic()
    own = _parse(module, args)
    rows = module.measure(own, lambda text: print(f"[{time.monotonic() - begin:6.1f} s] {text}", flush=True))
    command = ["./vla", "bench", args.name, *module.repeat(own), "--publish"]
    content = table(shlex.join(command), rows)
    success = bool(module.passed(rows)) if hasattr(module, "passed") else True
    save(own.out, "result", {"success": success, **content})
    if own.publish:
        publish(getattr(module, "TABLE", args.name), content)
    print(f"\n{machine.sentence(content['machine'])}\n\n{markdown_table(rows)}")
    return 0 if success else 1


def _common() -> argparse.ArgumentParser:
    """What may stand behind the name as well as before it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", type=Path, help="folder for everything it writes")
    parser.add_argument("--publish", action="store_true", help="write docs/results/NAME.json and docs/results.md")
    return parser


def _parse(module: Any, args: argparse.Namespace) -> argparse.Namespace:
    summary = BENCHES[args.name]
    parser = argparse.ArgumentParser(prog=f"vla bench {args.name}", description=summary, parents=[_common()])
    module.add_arguments(parser)
    own = parser.parse_args(args.options)
    own.out, own.publish = args.out, args.publish
    return own
