"""Run a graph as processes: start, wait for READY, notice a death, end all with one signal, leave nothing behind."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from vla_bringup.jobs import Job
from vla_core.errors import GraphError

SHM = Path("/dev/shm")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_READY = re.compile(r"(?:^|\s)READY (\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class StopReport:
    """How a graph went down.

    Attributes:
        seconds: From the first signal to the end of the last process.
        terminated: Jobs that SIGINT did not end in time and SIGTERM did.
        killed: Jobs that only SIGKILL ended.
        failed: Job → exit status, where it isn't 0 (a negative one is the number of a signal).
        left_behind: Shared-memory files of the link that their owners did not remove; they are removed now.
    """

    seconds: float
    terminated: tuple[str, ...]
    killed: tuple[str, ...]
    failed: Mapping[str, int]
    left_behind: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Everything ended by SIGINT, with status 0, and removed its files."""
        return not (self.terminated or self.killed or self.failed or self.left_behind)


class Runner:
    """Context manager around the processes of one graph.

    Args:
        jobs: What to run.
        link: Name of the graph's shared-memory link.
        logs: Folder for `<job>.log`.
        start_timeout_s: Longest wait for all READY lines.
        grace_s: Time between SIGINT, SIGTERM and SIGKILL; None: what the jobs ask for.
    """

    def __init__(
        self, jobs: Sequence[Job], link: str, logs: Path, start_timeout_s: float = 180.0, grace_s: float | None = None
    ) -> None:
        self._jobs, self._link, self._logs = list(jobs), link, logs
        self._start_timeout_s = start_timeout_s
        self._grace_s = max(job.grace_s for job in jobs) if grace_s is None else grace_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.report: StopReport | None = None

    def __enter__(self) -> Runner:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Job → process id."""
        return {name: process.pid for name, process in self._processes.items()}

    def log(self, job: str) -> Path:
        """Log file of a job."""
        return self._logs / f"{job}.log"

    def start(self, on_ready: Callable[[str], None] = lambda node: None) -> None:
        """Start every job and wait for its nodes; `on_ready` is called with the name of each.

        Raises:
            GraphError: a process ended or did not become ready in time. Everything is stopped by then.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            for job in self._jobs:
                self._processes[job.name] = self._spawn(job)
            self._await_ready(on_ready)
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raise if a process has ended.

        Raises:
            GraphError: says which, with its exit status and last lines.
        """
        for name, process in self._processes.items():
            status = process.poll()
            if status is not None:
                raise GraphError(
                    f"{name} ended with status {status}: {self.tail(name)}",
                    "every node to run until it is told to stop", f"mend what {self.log(name)} says",
                )  # fmt: skip

    def tail(self, job: str, lines: int = 6) -> str:
        """Last lines of a job's log; only its ERROR line if it printed one."""
        text = self.log(job).read_text(encoding="utf-8", errors="replace").strip()
        errors = re.findall(r"ERROR \w+: .*", text)
        return errors[-1] if errors else "\n".join(["", *text.splitlines()[-lines:]]) or "it printed nothing"

    def stop(self) -> StopReport:
        """Interrupt every process once, insist where one stays, remove what is left; safe to call again."""
        if self.report is not None:
            return self.report
        start = time.monotonic()
        failed = {name: code for name, p in self._processes.items() if (code := p.poll()) is not None and code != 0}
        late: dict[signal.Signals, tuple[str, ...]] = {}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            alive = [name for name, process in self._processes.items() if process.poll() is None]
            late[number] = tuple(alive)
            for name in alive:
                self._signal(name, number)
            self._await_end(self._grace_s if number != signal.SIGKILL else 10.0)
        failed |= {name: p.returncode for name, p in self._processes.items() if p.returncode != 0}
        killed = tuple(dict.fromkeys((*late[signal.SIGKILL], *self._end_stragglers())))
        terminated = tuple(name for name in late[signal.SIGTERM] if name not in killed)
        seconds = time.monotonic() - start
        self.report = StopReport(seconds, terminated, killed, failed, remove_link_files(self._link))
        return self.report

    def _spawn(self, job: Job) -> subprocess.Popen[bytes]:
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", "ROS_LOG_DIR": str(self._logs.resolve() / "ros")}
        with self.log(job.name).open("wb") as log:
            return subprocess.Popen(
                job.command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal reaches us alone; we pass it on, once
                preexec_fn=_die_with_parent,
            )  # fmt: skip

    def _await_ready(self, on_ready: Callable[[str], None]) -> None:
        wanted = {node: job.name for job in self._jobs for node in job.nodes}
        deadline = time.monotonic() + self._start_timeout_s
        while wanted:
            for job in set(wanted.values()):
                text = self.log(job).read_text(encoding="utf-8", errors="replace")
                for node in _READY.findall(text):
                    if wanted.pop(node, None):
                        on_ready(node)
            self.check()
            if wanted and time.monotonic() > deadline:
                node, job = next(iter(wanted.items()))
                raise GraphError(
                    f"no READY from {', '.join(wanted)} within {self._start_timeout_s:g} s: {self.tail(job)}",
                    "every node to become ready", f"mend what {self.log(job)} says",
                )  # fmt: skip
            time.sleep(0.02)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._processes[name]
        try:
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        except ProcessLookupError:
            pass  # it ended meanwhile

    def _await_end(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while any(p.poll() is None for p in self._processes.values()) and time.monotonic() < deadline:
            time.sleep(0.005)

    def _end_stragglers(self) -> list[str]:
        """Kill children that outlived a job (each job leads a process group of its own); returns those jobs."""
        found = []
        for name, process in self._processes.items():
            try:
                os.killpg(process.pid, signal.SIGKILL)
                found.append(name)
            except ProcessLookupError:
                pass
        return found


def link_files(link: str) -> list[Path]:
    """Shared-memory files of a link, those under construction included."""
    pattern = re.compile(rf"vla_{re.escape(link)}_[a-z]+(\.\d+)?")
    return sorted(path for path in SHM.glob("vla_*") if pattern.fullmatch(path.name))


def remove_link_files(link: str) -> tuple[str, ...]:
    """Remove a link's shared-memory files; returns their names."""
    found = link_files(link)
    for path in found:
        path.unlink(missing_ok=True)
    return tuple(path.name for path in found)


def _die_with_parent() -> None:
    """In the child: be interrupted when the runner dies, however it dies."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
