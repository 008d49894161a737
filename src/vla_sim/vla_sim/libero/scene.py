"""LIBERO's scenes for `third_party/worker.py`; runs in LIBERO's own virtual environment.

State: place of the tool x y z [m] in the world frame (its axes are those of the robot's base), rotation vector [rad]
with an angle of 0..2 pi, places of the two finger joints [m]. Action: LIBERO's own, 7 numbers in -1..1 for robosuite's
OSC_POSE at 20 Hz: 1 moves the tool by 0.05 m or turns it by 0.5 rad, from where it is measured, along the axes of the
base; the gripper opens below 0 and closes above.

An episode begins as those of OpenVLA's and openpi's evaluations do: LIBERO's own initial state, then 10 steps of
waiting with an open gripper while things come to rest. The seed is the number of the initial state; it also places
what isn't part of that state (cabinet and stove, within a centimetre or two).
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUITE = "libero_spatial"
CAMERAS = ("agentview", "robot0_eye_in_hand")
#: Longest episode of those evaluations, after the waiting; the longest demonstration has 193 steps.
MAX_STEPS = 220
WAITING = 10
#: What those evaluations draw, to be made smaller afterwards [px].
DRAWN = 256
SEEN = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")


class Scene:
    """A task as a policy may know it; every other observable of LIBERO is switched off.

    Args:
        size: Width and height of the images [px].
    """

    actions, limit = 7, MAX_STEPS

    def __init__(self, size: int) -> None:
        self._size, self._name = size, ""
        self._benchmark: Any = importlib.import_module("libero.libero.benchmark").get_benchmark(SUITE)()
        self._env: Any = None
        self._states: NDArray[np.float64] = np.zeros((0, 0))
        self._seen: dict[str, NDArray[np.float64]] = {}

    def reset(self, name: str, seed: int) -> None:
        """Begin an episode of a task at its initial state number `seed`."""
        if name != self._name:
            self._open(name)
        if not 0 <= seed < len(self._states):
            raise ValueError(f"initial state {seed} of {name}, which has {len(self._states)}")
        self._env.seed(seed)
        self._env.reset()
        gripper = self._env.robots[0].gripper
        gripper.current_action = np.zeros(gripper.dof)  # robosuite keeps the last episode's
        self._env.set_init_state(self._states[seed])
        for _ in range(WAITING):
            self.step(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0], np.float32))

    def step(self, action: NDArray[np.float32]) -> bool:
        """Execute one action (7,); the verdict of LIBERO's own goal predicate."""
        self._seen, _, success, _ = self._env.step(action.astype(np.float64))
        return bool(success)

    def state(self) -> NDArray[np.float32]:
        """Proprioception (8,)."""
        place, turn, fingers = (self._seen[key] for key in SEEN)
        return np.concatenate([place, rotation_vector(turn), fingers]).astype(np.float32)

    def draw(self) -> NDArray[np.uint8]:
        """Both views, shadows and reflections as LIBERO has them."""
        edge = max(DRAWN, self._size)
        drawn = [self._env.sim.render(camera_name=name, width=edge, height=edge) for name in CAMERAS]
        return np.stack([smaller(turned(image), self._size) for image in drawn])

    def label(self, horizon: int) -> NDArray[np.float32]:
        """Refuse: LIBERO has no expert."""
        raise PermissionError(f"{horizon} expert actions asked of LIBERO, which has no expert")

    def close(self) -> None:
        """Free the drawing context while its libraries are still there."""
        if self._env is not None:
            self._env.close()
        self._env, self._name = None, ""

    def _open(self, name: str) -> None:
        tasks = [self._benchmark.get_task(i) for i in range(self._benchmark.get_num_tasks())]
        index = [task.name for task in tasks].index(name)
        self.close()
        folder = Path(importlib.import_module("libero.libero").get_libero_path("bddl_files"))
        self._env = importlib.import_module("libero.libero.envs").OffScreenRenderEnv(
            bddl_file_name=str(folder / tasks[index].problem_folder / tasks[index].bddl_file),
            use_camera_obs=False, hard_reset=False,
        )  # fmt: skip
        for key, observable in self._env.env._observables.items():
            observable.set_enabled(key in SEEN)
        self._states = self._benchmark.get_task_init_states(index)
        self._name = name


def rotation_vector(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis times angle (3,) of a unit quaternion x y z w, the angle 2 acos(w) in 0..2 pi as in LIBERO's data sets.

    It isn't taken the shorter way round: published weights know the tool, which points down (w near 0), this way.
    """
    w = min(1.0, max(-1.0, float(quaternion[3])))
    sine = math.sqrt(1.0 - w * w)
    return np.zeros(3) if math.isclose(sine, 0.0) else quaternion[:3] * (2.0 * math.acos(w) / sine)


def turned(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H,W,3) as robosuite draws it, bottom row first, turned by 180 degrees.

    Things stand upright then, but left and right are exchanged; published weights have learnt from such images.
    """
    return image[::-1, ::-1]


def smaller(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """An image at a smaller size [px], resampled by Lanczos' kernel as OpenVLA's data were."""
    if len(image) == size:
        return image
    pictures = importlib.import_module("PIL.Image")
    whole = pictures.fromarray(np.ascontiguousarray(image))
    return np.asarray(whole.resize((size, size), pictures.Resampling.LANCZOS))


def open_scene(mode: str, size: int) -> Scene:
    """What a worker plays; the same in both modes."""
    importlib.import_module("libero.libero.envs")
    return Scene(size)
