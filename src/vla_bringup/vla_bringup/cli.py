"""The `vla` commands: `python -m vla_bringup.cli COMMAND [OPTIONS]`, or `./vla COMMAND`."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from vla_bringup.results import save
from vla_core.errors import VlaError

#: Command → what it does. Each is a module of vla_bringup.commands with `add_arguments(parser)` and `run(args)`.
COMMANDS = {
    "demo": "run the node graph in simulation and carry an instruction out",
    "eval": "success rate of a policy over episodes, with confidence interval",
    "train": "demonstrations from scripted experts, then weights",
    "convert": "demonstration shards to a LeRobot data set, and back",
    "bench": "latency and throughput of one part, as JSON",
    "view": "live console in the browser",
    "param": "read or change a parameter of a running node",
    "doctor": "what is missing or misconfigured on this machine, and how to mend it",
}
OK, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0: it did its job, 1: it ran and failed, 2: a VlaError, in one line on stderr."""
    signal.signal(signal.SIGTERM, _interrupt)
    args, module = parse(sys.argv[1:] if argv is None else argv)
    try:
        return int(module.run(args))
    except VlaError as error:
        print(f"ERROR {error.code}: {error}", file=sys.stderr, flush=True)
        save(args.out, "result", {"success": False, "error_code": error.code, "message": str(error)})
        return REFUSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return INTERRUPTED


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, object]:
    """Arguments and module of the command; only that command's module is imported."""
    parser = argparse.ArgumentParser(prog="vla", description=__doc__.partition(":")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((word for word in argv if not word.startswith("-")), "")
    module: object = None
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.add_argument("--out", type=Path, default=Path("out") / name, help="folder for everything it writes")
        if name == wanted:
            module = importlib.import_module(f"vla_bringup.commands.{name}")
            module.add_arguments(sub)  # type: ignore[attr-defined]
    return parser.parse_args(argv), module


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
