"""`vla bench mission_faults`: what goes wrong while a robot fetches something, and how the mission ends."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from vla_bringup.bench.faults import chosen
from vla_bringup.faults.missions import MISSION_FAULTS, SEED, MissionFault, MissionOutcome, play
from vla_bringup.statistics import rounded

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `vla bench mission_faults`."""
    parser.add_argument("--only", nargs="+", metavar="FAULT", default=[], help="some of them, by name")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the flat (default {SEED})")


def repeat(args: argparse.Namespace) -> list[str]:
    """Options that measure the same again."""
    seed = ["--seed", str(args.seed)] if args.seed != SEED else []
    return [*seed, *(["--only", *args.only] if args.only else [])]


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    """One row per fault.

    Raises:
        UnknownNameError: no such fault.
        ConfigError: some faults only are to be published.
        VlaError: a graph that breaks.
    """
    rows = []
    for fault in chosen(args, MISSION_FAULTS):
        outcome = play(fault, args.out / fault.name.replace(" ", "_"), lambda text: None, args.seed)
        rows.append(row(fault, outcome))
        verdict = "as expected" if rows[-1]["as_expected"] else "NOT AS EXPECTED"
        say(f"{fault.name}: {verdict}; {rows[-1]['code']}; {outcome.message}")
    return rows


def passed(rows: Sequence[Row]) -> bool:
    """Whether every mission ended as it should."""
    return all(row["as_expected"] for row in rows)


def row(fault: MissionFault, outcome: MissionOutcome) -> Row:
    """One line of the table."""
    return {
        "fault": fault.name,
        "injected": fault.injected,
        "at": fault.stage,
        "done": "; ".join(outcome.done),
        "code": outcome.code or "carried out",
        "message": outcome.message,
        "truthful": outcome.truthful,
        "rest_s": None if outcome.rest_s is None else rounded(outcome.rest_s),
        "hardest_n": rounded(outcome.hardest_n),
        "duration_s": rounded(outcome.duration_s),
        "as_expected": outcome.as_expected(fault),
    }
