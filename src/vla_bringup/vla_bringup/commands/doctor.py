"""`vla doctor`: what is missing or misconfigured on this machine, and how to mend it."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from vla_bringup import machine
from vla_bringup.checks import QUESTIONS, Check
from vla_bringup.results import save

_MARKS = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`vla doctor` has no options of its own."""


def run(args: argparse.Namespace) -> int:
    """Ask everything; 0 unless something doesn't work."""
    checks: list[Check] = []
    for question in QUESTIONS:
        for check in question():
            print(f"{_MARKS[check.level]} {check.name}: {check.found}", flush=True)
            if check.fix:
                print(f"        fix: {check.fix}", flush=True)
            checks.append(check)
    broken = [check for check in checks if check.level == "error"]
    warnings = [check for check in checks if check.level == "warning"]
    result = {"success": not broken, "checks": [asdict(check) for check in checks], "machine": machine.describe()}
    save(args.out, "result", result)
    print(f"{len(checks)} checks, {len(broken)} errors, {len(warnings)} warnings")
    return 1 if broken else 0
