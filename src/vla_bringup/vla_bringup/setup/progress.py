"""Show what the set-up is doing, keep everything that its commands print in one log file."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from vla_core.errors import SetupError

QUIET_S = 10.0


class Progress:
    """Numbered steps on one stream; the commands' output goes to the log.

    Args:
        log: Log file, started anew.
        total: Number of steps announced.
        stream: Where progress lines go (standard error, so that a command's own output stays clean).
    """

    def __init__(self, log: Path, total: int, stream: TextIO = sys.stderr) -> None:
        self.log, self._total, self._stream = log, total, stream
        self._number, self._title, self._start, self._last = 0, "", 0.0, 0.0
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("", encoding="utf-8")

    def step(self, title: str) -> None:
        """Open the next step."""
        self._number += 1
        self._title, self._start = title, time.monotonic()
        self._last = self._start
        self._print(f"[{self._number}/{self._total}] {title}")

    def note(self, text: str) -> None:
        """Say how far the open step is; at most one line every QUIET_S seconds."""
        now = time.monotonic()
        if now - self._last >= QUIET_S:
            self._last = now
            self._print(f"      {now - self._start:4.0f} s  {text}")

    def done(self) -> None:
        """Close the open step with its duration."""
        self._print(f"      done in {time.monotonic() - self._start:.0f} s")

    def warn(self, text: str) -> None:
        """Print a warning at once."""
        self._print(f"      WARNING {text}")

    def run(
        self, command: Sequence[str], environ: Mapping[str, str], cwd: Path, on_line: Callable[[str], str | None]
    ) -> None:
        """Run a command, log every line.

        Args:
            command: Program and arguments.
            environ: Complete environment of the child.
            cwd: Its working folder.
            on_line: Given each line; what it returns (if anything) is shown as progress.

        Raises:
            SetupError: the command can't be started or fails.
        """
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n")
            tail: list[str] = []
            try:
                child = subprocess.Popen(
                    command, env=dict(environ), cwd=cwd, text=True, errors="replace",
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )  # fmt: skip
            except OSError as error:
                raise SetupError(str(error), f"'{command[0]}' to start", "mend that program, then try again") from error
            with child:
                assert child.stdout is not None
                for line in child.stdout:
                    log.write(line)
                    tail = [*tail[-40:], line.strip()]
                    shown = on_line(line)
                    if shown:
                        self.note(shown)
        if child.returncode != 0:
            raise SetupError(
                f"exit status {child.returncode} while: {self._title} ({telling_line(tail)})",
                "success",
                f"read {self.log}, then start again: finished steps are kept",
            )

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def telling_line(lines: Sequence[str]) -> str:
    """The line that most likely says why a command failed: the last with 'error' in it, else the last one."""
    for line in reversed(lines):
        if "error" in line.lower() or "not found" in line.lower():
            return line
    return next((line for line in reversed(lines) if line), "it printed nothing")
