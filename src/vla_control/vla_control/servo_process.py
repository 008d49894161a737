"""The servo loop as a child process: start it, wait until it is ready, watch it, end it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from vla_core.errors import LinkError

_KILL_AFTER_S = 1.0  # grace beyond the loop's own bound on braking


class ServoProcess:
    """A running `vla_control.servo_loop`.

    The child leads a session of its own, so a Ctrl-C in the terminal reaches it through its owner only, after the
    owner has stopped counting on it; the kernel sends it SIGTERM should the owner die.

    Attributes:
        granted: What the loop announced: mode, fifo_priority, memory_locked.
        pid: Of the child.
    """

    def __init__(self, values: Mapping[str, Any], timeout_s: float) -> None:
        """Start the loop and wait until it is ready.

        Args:
            values: Parameters of servo_node and `link`.
            timeout_s: For compiling, and for the robot's first state [s].

        Raises:
            LinkError: the loop ended, with its own words, or wasn't ready in time.
        """
        self._stop_time_s = float(values["stop_time_s"])
        text = json.dumps({**values, "parent_pid": os.getpid()})
        self._child = subprocess.Popen(
            [sys.executable, "-m", "vla_control.servo_loop", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self.pid = self._child.pid
        try:
            self.granted: dict[str, Any] = json.loads(self._first_line(timeout_s).removeprefix("READY "))
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Return at once if the loop is running.

        Raises:
            LinkError: it has ended, with its last words.
        """
        code = self._child.poll()
        if code is not None:
            raise LinkError(f"the servo loop ended with code {code}{self._last_words()}", "it running", "restart it")

    def close(self) -> None:
        """Let the loop brake and end; kill it if it doesn't in time."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(self._stop_time_s + _KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()

    def _first_line(self, timeout_s: float) -> str:
        pipe = self._child.stdout
        assert pipe is not None
        deadline, line = time.monotonic() + timeout_s, b""
        while not line.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
                got = f"a servo loop that wasn't ready after {timeout_s:g} s"
                raise LinkError(got, "READY", "start the robot or simulator on the same link, or raise start_timeout_s")
            piece = os.read(pipe.fileno(), 4096)
            if not piece:
                self._child.wait(_KILL_AFTER_S)
                self.check()
            line += piece
        return line.decode().strip()

    def _last_words(self) -> str:
        pipe = self._child.stderr
        lines = [] if pipe is None or pipe.closed else pipe.read().decode(errors="replace").strip().splitlines()
        said = [line for line in lines if line.startswith("ERROR")] or lines  # libraries chat on exit
        return f" ({said[-1]})" if said else ""
