"""Run a graph as processes: start, wait for READY, notice a death, end all with one signal, leave nothing behind.

A job that may be started again is, by `check`, a moment after its death. One that keeps dying ends the graph: it would
never be there when it is needed.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from vla_bringup.family import MARK, families, heads
from vla_bringup.jobs import Job
from vla_core.errors import GraphError
from vla_core.shared_memory import link_path
from vla_ros.node import LEFT_MIDDLEWARE

SHM = Path("/dev/shm")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_POLL_S = 0.05  # a look at all processes costs some milliseconds
_DEATHS, _DEATHS_S = 4, 120.0  # so many deaths of one job within so long end the graph
_READY = re.compile(r"(?:^|\s)READY (\S+)\s*$", re.MULTILINE)
# how `ros2 launch` tells of a node
_DIED = re.compile(r"\[(?P<process>\S+)\]: process has died \[.*?exit code (?P<code>-?\d+)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m|\r")


@dataclass(frozen=True, slots=True)
class StopReport:
    """How a graph went down.

    Attributes:
        seconds: From the first signal to the end of the last process.
        terminated: Jobs that SIGINT did not end in time and SIGTERM did.
        killed: Jobs that neither ended: SIGABRT, which makes our nodes print where they are, and then SIGKILL did.
        orphaned: Jobs that ended before processes they had started; those were ended as well.
        left_middleware: Jobs that had cleaned up, but that DDS didn't let go of; they ended without it.
        failed: Job → any other exit status, where it isn't 0 (a negative one is the number of a signal).
        last_words: Job that failed, was terminated or killed → last lines of its log.
        left_behind: Shared-memory files of the link that their owners did not remove; they are removed now. The one in
            which a safety monitor leaves a latched stop doesn't count.
    """

    seconds: float
    terminated: tuple[str, ...]
    killed: tuple[str, ...]
    orphaned: tuple[str, ...]
    left_middleware: tuple[str, ...]
    failed: Mapping[str, int]
    last_words: Mapping[str, str]
    left_behind: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Everything ended by SIGINT, with status 0, and removed its files; DDS may have kept somebody for a while."""
        return not (self.terminated or self.killed or self.orphaned or self.failed or self.left_behind)


class Runner:
    """Context manager around the processes of one graph.

    Args:
        jobs: What to run.
        link: Name of the graph's shared-memory link.
        logs: Folder for `<job>.log`.
        start_timeout_s: Longest wait for all READY lines.
        grace_s: Time between SIGINT, SIGTERM and SIGKILL; None: what the jobs ask for.
        say: Takes a line for each job that died and is started again.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        link: str,
        logs: Path,
        start_timeout_s: float = 180.0,
        grace_s: float | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._jobs, self._link, self._logs, self._say = list(jobs), link, logs, say
        self._deaths: dict[str, deque[float]] = {job.name: deque(maxlen=_DEATHS) for job in jobs}
        self._due: dict[str, float] = {}  # when a dead job is started again
        self._start_timeout_s = start_timeout_s
        self._grace_s = max(job.grace_s for job in jobs) if grace_s is None else grace_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._run = f"{os.getpid()}-{time.monotonic_ns()}"
        self._orphaned: set[str] = set()
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
        """Start again what has died and may be; call it often.

        Raises:
            GraphError: says which process has ended for good, with its exit status and last lines.
        """
        for job in self._jobs:
            status = self._processes[job.name].poll()
            if status is None:
                continue
            if job.name not in self._due:
                self._note_death(job, status)
            elif time.monotonic() >= self._due[job.name]:
                del self._due[job.name]
                self._processes[job.name] = self._spawn(job, "ab")

    def _note_death(self, job: Job, status: int) -> None:
        """Plan the job's next start.

        Raises:
            GraphError: it may not be started again, or has died too often.
        """
        now_s, deaths = time.monotonic(), self._deaths[job.name]
        deaths.append(now_s)
        if job.respawn_delay_s is None or (len(deaths) == _DEATHS and now_s - deaths[0] < _DEATHS_S):
            raise self._ended(job.name, status)
        self._due[job.name] = now_s + job.respawn_delay_s
        self._say(f"{job.name} ended with status {status}; it is started again in {job.respawn_delay_s:g} s")

    def _ended(self, name: str, status: int) -> GraphError:
        return GraphError(
            f"{name} ended with status {status}: {self.tail(name)}",
            "every node to run until it is told to stop", f"mend what {self.log(name)} says",
        )  # fmt: skip

    def tail(self, job: str, lines: int = 6) -> str:
        """Last lines of a job's log, of a launch those of the node that died first; only the ERROR line if any."""
        text = self._text(job).strip().splitlines()
        died = next(filter(None, map(_DIED.search, text)), None)
        own = [line for line in text if died is None or line.startswith(f"[{died['process']}]")]
        errors: list[str] = re.findall(r"ERROR \w+: .*", "\n".join(own))
        if errors:
            return errors[-1]
        if died is not None:
            return "\n".join([f"{died['process']} died with exit code {died['code']}", *own[-lines:]])
        return "\n".join(["", *text[-lines:]]) or "it printed nothing"

    def stop(self) -> StopReport:
        """Interrupt every process once, insist where one stays, remove what is left; safe to call again."""
        if self.report is not None:
            return self.report
        start = time.monotonic()
        failed = {name: code for name, p in self._processes.items() if (code := p.poll()) is not None and code != 0}
        graces = {
            signal.SIGINT: self._grace_s,
            signal.SIGTERM: self._grace_s,
            signal.SIGABRT: 5.0,
            signal.SIGKILL: 10.0,
        }
        late = {number: self._end(number, grace_s) for number, grace_s in graces.items()}
        codes = {name: p.returncode for name, p in self._processes.items() if p.returncode != 0}
        left_middleware = tuple(name for name, code in codes.items() if code == LEFT_MIDDLEWARE)
        failed |= {name: code for name, code in codes.items() if name not in left_middleware}
        killed = late[signal.SIGABRT]
        terminated = tuple(name for name in late[signal.SIGTERM] if name not in killed)
        orphaned = tuple(name for name in self._processes if name in self._orphaned)
        told = dict.fromkeys((*late[signal.SIGTERM], *failed))
        last_words = {name: self.tail(name, 60 if name in killed else 6) for name in told}
        seconds = time.monotonic() - start
        left = tuple(name for name in remove_link_files(self._link) if name != link_path(self._link, "safety").name)
        self.report = StopReport(seconds, terminated, killed, orphaned, left_middleware, failed, last_words, left)
        return self.report

    def _spawn(self, job: Job, mode: str = "wb") -> subprocess.Popen[bytes]:
        environ = {
            **os.environ, "PYTHONUNBUFFERED": "1", "ROS_LOG_DIR": str(self._logs.resolve() / "ros"),
            MARK: f"{self._run}/{job.name}",
        }  # fmt: skip
        with self.log(job.name).open(mode) as log:
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
                for node in _READY.findall(self._text(job)):
                    if wanted.pop(node, None):
                        on_ready(node)
            for name, process in self._processes.items():  # nobody is started again before all have been there once
                status = process.poll()
                if status is not None:
                    raise self._ended(name, status)
            if wanted and time.monotonic() > deadline:
                node, job = next(iter(wanted.items()))
                raise GraphError(
                    f"no READY from {', '.join(wanted)} within {self._start_timeout_s:g} s: {self.tail(job)}",
                    "every node to become ready", f"mend what {self.log(job)} says",
                )  # fmt: skip
            time.sleep(0.02)

    def _text(self, job: str) -> str:
        return _COLOUR.sub("", self.log(job).read_text(encoding="utf-8", errors="replace"))

    def _end(self, number: signal.Signals, timeout_s: float) -> tuple[str, ...]:
        """Signal what runs and wait for its end; returns the jobs that had processes at the beginning."""
        told: set[int] = set()
        first = left = self._tell(number, told)
        deadline = time.monotonic() + timeout_s
        while left and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            left = self._tell(number, told)
        return first

    def _tell(self, number: signal.Signals, told: set[int]) -> tuple[str, ...]:
        """Send a signal, once, to the heads of all jobs, orphans included, SIGKILL to all processes.

        Args:
            number: Signal.
            told: Processes that have had it; extended.

        Returns:
            Jobs that had processes.
        """
        alive, marked = [], families(self._run)
        for name, process in self._processes.items():
            members = marked.get(name, {})
            if process.poll() is None:
                members.setdefault(process.pid, os.getpid())
            else:
                members.pop(process.pid, None)  # it ended meanwhile
                if not members:
                    continue
                self._orphaned.add(name)
            alive.append(name)
            for pid in (set(members) if number == signal.SIGKILL else heads(members)) - told:
                told.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        return tuple(alive)


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
    """In the child: be interrupted when the runner dies, however it dies and whatever a shell had it ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
