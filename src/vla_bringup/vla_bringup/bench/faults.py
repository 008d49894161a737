"""`vla bench faults`: every fault of docs/faults.md injected into a running graph, and what was seen."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from vla_bringup.faults.fault import Fault, Outcome
from vla_bringup.faults.missions import MissionFault
from vla_bringup.faults.rigs import Rigs
from vla_bringup.faults.table import FAULTS
from vla_bringup.faults.trial import run
from vla_bringup.statistics import rounded
from vla_core.errors import ConfigError, UnknownNameError, VlaError

Row = dict[str, Any]
Named = TypeVar("Named", Fault, MissionFault)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench faults`."""
    parser.add_argument("--only", nargs="+", metavar="FAULT", default=[], help="some of them, by name")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    return ["--only", *args.only] if args.only else []


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """One row per fault.

    Args:
        args: Of `add_arguments`, and `out`: folder for logs.
        say: Takes progress lines.

    Raises:
        UnknownNameError: no such fault.
        ConfigError: some faults only are to be published.
    """
    faults = chosen(args, FAULTS)
    rigs, rows = Rigs(args.out / "graphs"), []
    try:
        for fault in faults:
            rows.append(_row(fault, rigs))
            verdict = "as expected" if rows[-1]["as_expected"] else "NOT AS EXPECTED"
            say(f"{fault.name}: {verdict}; {rows[-1]['seen']}")
    finally:
        rigs.close()
    return rows


def chosen(args: argparse.Namespace, faults: Sequence[Named]) -> Sequence[Named]:
    """Those that --only names, or all.

    Raises:
        UnknownNameError: no such fault.
        ConfigError: some faults only are to be published.
    """
    if args.only and args.publish:
        raise ConfigError("--only with --publish", "one of them", "publish the whole table")
    known = {fault.name: fault for fault in faults}
    for name in args.only:
        if name not in known:
            raise UnknownNameError("fault", name, known)
    return [known[name] for name in args.only] or faults


def passed(rows: Sequence[Row]) -> bool:
    """Whether every fault was answered as it should be."""
    return all(row["as_expected"] for row in rows)


def _row(fault: Fault, rigs: Rigs) -> Row:
    row: Row = {"fault": fault.name, "injected": fault.injected, "expected": fault.answer.value}
    try:
        outcome = run(fault, rigs)
    except VlaError as error:
        outcome = Outcome(str(error), None, (), False, ())
    stopped = None if outcome.stopped_after_ms is None else rounded(outcome.stopped_after_ms)
    return row | {
        "seen": "; ".join([_first_line(outcome.seen), *outcome.violations, *outcome.repeated]),
        "stopped_after_ms": stopped,
        "reported": ", ".join(f"{told.where} {count}x" for told, count in zip(fault.told, outcome.told, strict=False)),
        "recovered": f"{'yes' if outcome.recovered else 'no'}: {fault.recovery.value}",
        "as_expected": is_expected(fault, outcome),
    }


def is_expected(fault: Fault, outcome: Outcome) -> bool:
    """The robot was safe, nobody reported anything twice, and it moves again; the answer itself was waited for."""
    quiet = outcome.told == (1,) * len(fault.told) and not outcome.repeated
    return outcome.recovered and not outcome.violations and quiet


def _first_line(text: str) -> str:
    return " ".join(text.split("\n")[0].split())
