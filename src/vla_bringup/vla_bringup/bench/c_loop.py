"""Compile and run the C loop that the servo's jitter is compared with."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from vla_core.errors import SetupError

SOURCE = Path(__file__).with_name("wake.c")


def wake_us(period_s: float, count: int, priority: int) -> list[float]:
    """Wake-up latencies of a C loop on absolute deadlines [us].

    Args:
        period_s: Time between deadlines.
        count: Number of wake-ups.
        priority: SCHED_FIFO priority; 0: the normal scheduler.

    Raises:
        SetupError: no C compiler, or the loop can't run (no right to the priority).
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SetupError("no C compiler", "cc or gcc on PATH", "apt-get install gcc")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "wake"
        subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True, timeout=60)
        command = [str(program), str(round(period_s * 1e9)), str(count), str(priority)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 2 * period_s * count, check=False)
    if done.returncode != 0:
        got = f"exit status {done.returncode} of the C loop at priority {priority}"
        raise SetupError(got, "the right to SCHED_FIFO", "see `./vla doctor`, or measure with priority 0")
    return [int(line) / 1e3 for line in done.stdout.split()]
