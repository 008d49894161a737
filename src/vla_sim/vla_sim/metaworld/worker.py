"""One Meta-World task at a time, behind two pipes. Runs in Meta-World's own virtual environment, as a script:

    python -I worker.py evaluate|demonstrate SIZE

In: frames on standard input. Out: one frame on standard output for each. It ends with its standard input. It imports
nothing of ours; `client.py` imports the layout of the frames from here.

A frame is its body's length (uint32), its kind (uint8), its body; numbers are little-endian.

| asked | body | answered |
|---|---|---|
| RESET | int64 seed, task name (UTF-8) | OBSERVATION |
| STEP | uint8 whether to draw, float32 (K,4) actions | OBSERVATION after the last of them, or after first success |
| LABEL, only in `demonstrate` | uint32 T | ACTIONS: float32 (T,4), what the expert does from here if undisturbed |

OBSERVATION is `OBSERVED` (steps since reset, success, tool x y z [m], gripper opening 0..1) and then, if drawn, uint8
(SIZE,SIZE,3). In `evaluate` there is no expert in the process and no object state in any frame. READY comes once at
the start. FAILURE (UTF-8) stands for any answer.
"""

from __future__ import annotations

import copy
import importlib
import os
import struct
import sys
import traceback
import warnings
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

HEADER = struct.Struct("<IB")
OBSERVED = struct.Struct("<IB4f")
SEED = struct.Struct("<q")
COUNT = struct.Struct("<I")
RESET, STEP, LABEL = 1, 2, 3
READY, OBSERVATION, ACTIONS, FAILURE = 11, 12, 13, 14
MODES = ("evaluate", "demonstrate")
#: Meta-World refuses to go on after this many steps.
MAX_STEPS = 500

CAMERA = "corner2"
#: Where evaluations of visual policies put that camera [m], e.g. LeRobot; it hangs upside down.
CAMERA_XYZ = (0.75, 0.075, 0.7)


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


class Scene:
    """A task as a policy may know it: pixels, proprioception, success.

    Args:
        size: Width and height of the images [px].
        goal_observed: Whether Meta-World puts the goal into its state vector, where only an expert reads it.
    """

    def __init__(self, size: int, goal_observed: bool = False) -> None:
        self._size, self._goal_observed = size, goal_observed
        self._name, self._steps, self._success = "", 0, False
        self._env: Any = None
        self._renderer: Any = None
        self._state: NDArray[np.float64] = np.zeros(0)

    def reset(self, name: str, seed: int) -> None:
        """Begin an episode: the seed alone says where things are."""
        if name != self._name:
            self._open(name)
        self._env.seed(seed)
        self._state, _ = self._env.reset()
        self._steps, self._success = 0, False

    def step(self, actions: NDArray[np.float32]) -> None:
        """Execute actions (K,4) in -1..1 until success is new or the episode is over."""
        before = self._success
        for action in actions:
            if self._steps >= MAX_STEPS:
                raise ValueError(f"the episode has had its {MAX_STEPS} steps")
            self._state, _, _, _, info = self._env.step(np.clip(action, -1.0, 1.0))
            self._steps, self._success = self._steps + 1, bool(info["success"])
            if self._success and not before:
                break

    def observation(self, draw: bool) -> bytes:
        """Body of an OBSERVATION frame."""
        x, y, z, opening = (float(v) for v in self._state[:4])
        head = OBSERVED.pack(self._steps, self._success, x, y, z, opening)
        return head + self._draw().tobytes() if draw else head

    def label(self, horizon: int) -> NDArray[np.float32]:
        """Refuse: there is no expert in this process."""
        raise PermissionError(f"{horizon} expert actions asked of a worker in mode 'evaluate'")

    def close(self) -> None:
        """Free the drawing context while its libraries are still there."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None

    def _open(self, name: str) -> None:
        self.close()
        self._name = ""
        env = importlib.import_module("metaworld.env_dict").ENV_CLS_MAP[name]()
        env._partially_observable = not self._goal_observed
        env.__dict__.pop("sawyer_observation_space", None)  # cached for the other kind of observation
        # Place everything anew at each reset, from the generator that `seed` seeds.
        env._freeze_rand_vec, env.seeded_rand_vec, env._set_task_called = False, True, True
        quality = env.model.vis.quality
        quality.shadowsize, quality.offsamples = 0, 0  # most of what a frame costs
        env.model.cam_pos[env.model.camera(CAMERA).id] = CAMERA_XYZ
        self._env, self._name = env, name

    def _draw(self) -> NDArray[np.uint8]:
        if self._renderer is None:
            mujoco = importlib.import_module("mujoco")
            self._renderer = mujoco.Renderer(self._env.model, self._size, self._size)
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._renderer.scene.flags[flag] = 0
        self._renderer.update_scene(self._env.data, camera=CAMERA)
        upright: NDArray[np.uint8] = self._renderer.render()[::-1, ::-1]
        return upright


class Lesson(Scene):
    """A task with its scripted expert beside it, who sees everything."""

    def __init__(self, size: int) -> None:
        super().__init__(size, goal_observed=True)
        self._experts: Any = importlib.import_module("metaworld.policies").ENV_POLICY_MAP
        self._expert: Any = None

    def label(self, horizon: int) -> NDArray[np.float32]:
        """Expert's actions (T,4), clipped to -1..1, of an undisturbed run from here on; the scene stays as it is."""
        mujoco = importlib.import_module("mujoco")
        env, state, before, data = self._env, self._state, self._env._prev_obs, self._env.data
        chunk = np.empty((horizon, 4), np.float32)
        space = env.sawyer_observation_space
        env.data = copy.copy(data) if horizon > 1 else data
        for i in range(horizon):
            chunk[i] = np.clip(self._expert.get_action(state), -1.0, 1.0)
            if i + 1 == horizon:
                break
            env.set_xyz_action(chunk[i, :3])
            env.do_simulation([chunk[i, 3], -chunk[i, 3]], n_frames=env.frame_skip)
            mujoco.mj_forward(env.model, env.data)
            state = np.clip(env._get_obs(), space.low, space.high)
        env.data, env._prev_obs = data, before
        return chunk

    def _open(self, name: str) -> None:
        super()._open(name)
        self._expert = self._experts[name]()


def answer(scene: Scene, kind: int, body: bytes) -> tuple[int, bytes]:
    """Carry one request out: kind and body of the answer."""
    if kind == RESET:
        scene.reset(body[SEED.size :].decode(), SEED.unpack_from(body)[0])
        return OBSERVATION, scene.observation(True)
    if kind == STEP:
        scene.step(np.frombuffer(body, "<f4", offset=1).reshape(-1, 4))
        return OBSERVATION, scene.observation(bool(body[0]))
    if kind == LABEL:
        return ACTIONS, scene.label(COUNT.unpack(body)[0]).astype("<f4").tobytes()
    raise ValueError(f"frame of kind {kind}")


def main() -> int:
    """Serve until standard input ends; the exit status is 2 for wrong arguments."""
    if len(sys.argv) != 3 or sys.argv[1] not in MODES:
        print(__doc__, file=sys.stderr)
        return 2
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not reach the frames
    warnings.filterwarnings("ignore", message="Constant")  # experts ask for more than 1, which is clipped
    scene = (Lesson if sys.argv[1] == "demonstrate" else Scene)(int(sys.argv[2]))
    importlib.import_module("metaworld.env_dict")
    write_frame(answers, READY, b"")
    while (request := read_frame(sys.stdin.buffer)) is not None:
        try:
            kind, body = answer(scene, *request)
        except Exception as error:
            traceback.print_exc()
            kind, body = FAILURE, f"{type(error).__name__}: {error}".encode()
        write_frame(answers, kind, body)
    scene.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
