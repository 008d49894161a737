"""One task of a benchmark at a time, behind two pipes. Runs in the benchmark's own virtual environment, as a script:

    python -I worker.py SCENE evaluate|demonstrate SIZE

SCENE is a Python file with `open_scene(mode, size)`, which returns a `Scene`. In: frames on standard input. Out: one
frame on standard output for each. It ends with its standard input. Neither it nor a scene imports anything of ours;
`client.py` imports the layout of the frames from here.

A frame is its body's length (uint32), its kind (uint8), its body; numbers are little-endian.

| asked | body | answered |
|---|---|---|
| RESET | int64 seed, task name (UTF-8) | OBSERVATION |
| STEP | uint8 whether to draw, float32 (K,A) actions in -1..1 | OBSERVATION after the last, or after first success |
| LABEL, only in `demonstrate` | uint32 T | ACTIONS: float32 (T,A), what the expert does from here if undisturbed |

OBSERVATION is `OBSERVED` (steps since reset, success), the proprioception as float32 (S,) and then, if drawn, uint8
(V,SIZE,SIZE,3). In `evaluate` there is no expert in the process and no object state in any frame. READY comes once at
the start. FAILURE (UTF-8) stands for any answer.
"""

from __future__ import annotations

import importlib.util
import os
import struct
import sys
import traceback
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

HEADER = struct.Struct("<IB")
OBSERVED = struct.Struct("<IB")
SEED = struct.Struct("<q")
COUNT = struct.Struct("<I")
RESET, STEP, LABEL = 1, 2, 3
READY, OBSERVATION, ACTIONS, FAILURE = 11, 12, 13, 14
MODES = ("evaluate", "demonstrate")


class Scene(Protocol):
    """A task as a policy may know it: pixels, proprioception, success.

    Attributes:
        actions: Numbers of an action.
        limit: Longest episode [steps].
    """

    actions: int
    limit: int

    def reset(self, name: str, seed: int) -> None:
        """Begin an episode: the seed alone says where things are."""

    def step(self, action: NDArray[np.float32]) -> bool:
        """Execute one action (A,) in -1..1; whether the benchmark counts the task as solved now."""

    def state(self) -> NDArray[np.float32]:
        """Proprioception, float32 (S,)."""

    def draw(self) -> NDArray[np.uint8]:
        """Views, uint8 (V,SIZE,SIZE,3)."""

    def label(self, horizon: int) -> NDArray[np.float32]:
        """What the expert would do from here, float32 (T,A); refused where there is none."""

    def close(self) -> None:
        """Free the drawing context while its libraries are still there."""


def write_frame(stream: BinaryIO, kind: int, body: bytes) -> None:
    """Send one frame."""
    stream.write(HEADER.pack(len(body), kind) + body)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[int, bytes] | None:
    """Wait for one frame: kind and body; None when the other side is gone."""
    head = stream.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    length, kind = HEADER.unpack(head)
    body = stream.read(length)
    return (kind, body) if len(body) == length else None


class Host:
    """Carries requests out on a scene; counts the steps of its episode."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._steps, self._success = scene, 0, False

    def answer(self, kind: int, body: bytes) -> tuple[int, bytes]:
        """Carry one request out: kind and body of the answer."""
        if kind == RESET:
            self._scene.reset(body[SEED.size :].decode(), SEED.unpack_from(body)[0])
            self._steps, self._success = 0, False
            return OBSERVATION, self._observation(True)
        if kind == STEP:
            self._execute(np.frombuffer(body, "<f4", offset=1).reshape(-1, self._scene.actions))
            return OBSERVATION, self._observation(bool(body[0]))
        if kind == LABEL:
            return ACTIONS, self._scene.label(COUNT.unpack(body)[0]).astype("<f4").tobytes()
        raise ValueError(f"frame of kind {kind}")

    def _execute(self, actions: NDArray[np.float32]) -> None:
        """Execute actions (K,A) until success is new or the episode is over."""
        before = self._success
        for action in actions:
            if self._steps >= self._scene.limit:
                raise ValueError(f"the episode has had its {self._scene.limit} steps")
            self._success = self._scene.step(np.clip(action, -1.0, 1.0))
            self._steps += 1
            if self._success and not before:
                break

    def _observation(self, draw: bool) -> bytes:
        head = OBSERVED.pack(self._steps, self._success) + self._scene.state().astype("<f4").tobytes()
        return head + self._scene.draw().tobytes() if draw else head


def load(path: Path) -> Any:
    """A scene's module."""
    spec = importlib.util.spec_from_file_location("scene", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["scene"] = module
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Serve until standard input ends; the exit status is 2 for wrong arguments."""
    if len(sys.argv) != 4 or sys.argv[2] not in MODES:
        print(__doc__, file=sys.stderr)
        return 2
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not reach the frames
    scene: Scene = load(Path(sys.argv[1])).open_scene(sys.argv[2], int(sys.argv[3]))
    host = Host(scene)
    write_frame(answers, READY, b"")
    while (request := read_frame(sys.stdin.buffer)) is not None:
        try:
            kind, body = host.answer(*request)
        except Exception as error:
            traceback.print_exc()
            kind, body = FAILURE, f"{type(error).__name__}: {error}".encode()
        write_frame(answers, kind, body)
    scene.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
