"""Workers of a benchmark from our side: start them, ask, and say in one sentence why one doesn't answer."""

from __future__ import annotations

import math
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vla_core.errors import ConfigError, VlaError
from vla_core.types import Float32
from vla_sim.third_party import worker as wire
from vla_sim.third_party.benchmark import Benchmark

Mode = Literal["evaluate", "demonstrate"]
SCRIPT = Path(wire.__file__)
#: Set for our own Python; another one must not find our libraries.
_OURS = ("LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "_ROS_WHEELS_BOOTSTRAP_COMPLETE")


class WorkerError(VlaError):
    """A benchmark's worker died, hangs, or refuses what it was asked."""

    code = "benchmark_worker"


@dataclass(frozen=True, slots=True)
class Seen:
    """All that leaves a worker after a reset or a step.

    Attributes:
        rgb: uint8 (V,H,W,3), the benchmark's views; None where it wasn't asked for.
        state: float32 (S,): proprioception, see the benchmark's scene.
        steps: Since the reset.
        success: Whether the task counts as solved at this very step.
    """

    rgb: NDArray[np.uint8] | None
    state: Float32
    steps: int
    success: bool


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without what belongs to our Python; one thread, drawing without a screen."""
    kept = {name: value for name, value in environ.items() if name not in _OURS}
    return kept | {"MUJOCO_GL": "egl", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Worker:
    """One process with one task at a time. Requests can be posted first and collected later.

    Args:
        benchmark: What it plays.
        python: Interpreter of the benchmark's virtual environment.
        mode: 'demonstrate' has the expert; 'evaluate' has no way to tell more than `Seen`.
        size: Width and height of the images [px].
        script: What it runs.
    """

    def __init__(self, benchmark: Benchmark, python: Path, mode: Mode, size: int = 128, script: Path = SCRIPT) -> None:
        if not 16 <= size <= 1024:
            raise ConfigError(f"images of {size} px", "16..1024", "choose another size")
        self.mode, self._benchmark, self._size = mode, benchmark, size
        self._received = bytearray()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        command = [str(python), "-I", str(script), str(benchmark.scene), mode, str(size)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints,
                env=worker_environment(os.environ), start_new_session=True, bufsize=0,
            )  # fmt: skip
        except OSError as error:
            self._complaints.close()
            raise WorkerError(str(error), f"{benchmark.name}'s own Python", "set it up, or name another one") from error
        self._last = "start"

    def wait_ready(self) -> None:
        """Wait until it has loaded the benchmark.

        Raises:
            WorkerError: it ended, or took too long.
        """
        self._receive(wire.READY)

    def post_reset(self, task: str, seed: int) -> None:
        """Ask for a new episode; `seen` gives its first observation."""
        self._send(wire.RESET, wire.SEED.pack(seed) + task.encode(), f"reset of {task}, seed {seed}")

    def post_step(self, actions: Float32, draw: bool = True) -> None:
        """Ask for actions (K,A) in -1..1 to be executed, until success at the latest; `seen` gives the outcome."""
        body, wide = np.ascontiguousarray(actions, "<f4"), self._benchmark.actions
        if body.ndim != 2 or body.shape[1] != wide or len(body) == 0 or not np.isfinite(body).all():
            got = f"actions {actions.shape}, finite: {np.isfinite(body).all()}"
            raise WorkerError(got, f"finite (K,{wide}), K > 0", "mend the policy")
        self._send(wire.STEP, bytes([draw]) + body.tobytes(), f"{len(body)} steps")

    def seen(self) -> Seen:
        """Collect the answer to a posted reset or step.

        Raises:
            WorkerError: no answer, or one that isn't an observation of exactly the state and the views.
        """
        body = self._receive(wire.OBSERVATION)
        shape = (len(self._benchmark.views), self._size, self._size, 3)
        head = wire.OBSERVED.size + 4 * self._benchmark.state
        whole = head + math.prod(shape)
        if len(body) not in (head, whole):
            raise WorkerError(f"an observation of {len(body)} bytes", f"{head} or {whole}", "mend the worker")
        steps, success = wire.OBSERVED.unpack_from(body)
        state = np.frombuffer(body[wire.OBSERVED.size : head], "<f4").astype(np.float32)
        drawn = np.frombuffer(body, np.uint8, offset=head)
        return Seen(drawn.reshape(shape) if drawn.size else None, state, steps, bool(success))

    def reset(self, task: str, seed: int) -> Seen:
        """Begin an episode; see the benchmark for which seeds are scored."""
        self.post_reset(task, seed)
        return self.seen()

    def step(self, actions: Float32, draw: bool = True) -> Seen:
        """Execute actions (K,A)."""
        self.post_step(actions, draw)
        return self.seen()

    def label(self, horizon: int) -> Float32:
        """What the expert would do from here if nothing disturbed it: float32 (T,A). The scene stays as it is.

        Raises:
            WorkerError: the worker is one for evaluation.
        """
        if self.mode != "demonstrate":
            fix = "start a worker to demonstrate"
            raise WorkerError("a question to the expert while evaluating", "none", fix)
        self._send(wire.LABEL, wire.COUNT.pack(horizon), "question to the expert")
        return np.frombuffer(self._receive(wire.ACTIONS), "<f4").reshape(horizon, -1).astype(np.float32)

    def kill(self) -> None:
        """End it at once, whatever it does: whoever waits for its answer gets a WorkerError."""
        self._process.kill()

    def close(self) -> None:
        """End it; at the latest after some seconds."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._complaints.close()

    def _send(self, kind: int, body: bytes, what: str) -> None:
        assert self._process.stdin is not None
        self._last = what
        try:
            self._process.stdin.write(wire.HEADER.pack(len(body), kind) + body)
        except (OSError, ValueError) as error:
            raise self._gone() from error

    def _receive(self, expected: int) -> bytes:
        deadline = time.monotonic() + self._benchmark.timeout_s
        length, kind = wire.HEADER.unpack(self._take(wire.HEADER.size, deadline))
        if kind not in (expected, wire.FAILURE) or length > 2**24:
            raise self._broken(f"a frame of kind {kind} with {length} bytes")
        body = self._take(length, deadline)
        if kind == wire.FAILURE:
            got = f"'{body.decode(errors='replace')}' from {self._who} after: {self._last}"
            raise WorkerError(got, "an answer", "mend the request")
        return body

    def _take(self, count: int, deadline: float) -> bytes:
        """The next so many bytes of its output."""
        assert self._process.stdout is not None
        while len(self._received) < count:
            try:
                ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
                piece = os.read(self._process.stdout.fileno(), 1 << 20) if ready else None
            except (OSError, ValueError) as error:
                raise self._gone() from error
            if piece is None:
                raise self._broken(f"no answer within {self._benchmark.timeout_s:g} s")
            if not piece:
                raise self._gone()
            self._received += piece
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    @property
    def _who(self) -> str:
        return f"a {self._benchmark.name} worker"

    def _broken(self, got: str) -> WorkerError:
        self._process.kill()
        return WorkerError(f"{got} after: {self._last}", f"an answer of {self._who}", self._advice())

    def _gone(self) -> WorkerError:
        if self._complaints.closed:
            return WorkerError("a closed worker", "a running one", "start another")
        try:
            status = str(self._process.wait(5.0))
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = "unknown"
        got = f"the end of {self._who} (exit status {status}) after: {self._last}"
        return WorkerError(got, "an answer", self._advice())

    def _advice(self) -> str:
        self._complaints.seek(0)
        lines = [line for line in self._complaints.read().decode(errors="replace").splitlines() if line.strip()]
        return f"its last words were: {lines[-1].strip()}" if lines else "it said nothing; look for lack of memory"


@contextmanager
def start_workers(
    benchmark: Benchmark, python: Path, mode: Mode, count: int, size: int = 128, script: Path = SCRIPT
) -> Iterator[list[Worker]]:
    """So many workers, started side by side, ended with the context.

    Raises:
        WorkerError: one doesn't start.
    """
    if count < 1:
        raise ConfigError(f"{count} workers", "at least 1", "ask for more workers")
    with ExitStack() as stack:
        workers = []
        for _ in range(count):
            workers.append(Worker(benchmark, python, mode, size, script))
            stack.callback(workers[-1].close)
        for worker in workers:
            worker.wait_ready()
        yield workers
