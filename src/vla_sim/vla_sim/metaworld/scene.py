"""Meta-World's scenes for `third_party/worker.py`; runs in Meta-World's own virtual environment.

State: tool x y z [m] in the robot's base frame, gripper opening 0..1. Action: displacement of the tool [cm], effort of
the gripper (1 closes).
"""

from __future__ import annotations

import copy
import importlib
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Meta-World refuses to go on after this many steps.
MAX_STEPS = 500

CAMERA = "corner2"
#: Where evaluations of visual policies put that camera [m], e.g. LeRobot; it hangs upside down.
CAMERA_XYZ = (0.75, 0.075, 0.7)


class Scene:
    """A task as a policy may know it.

    Args:
        size: Width and height of the images [px].
        goal_observed: Whether Meta-World puts the goal into its state vector, where only an expert reads it.
    """

    actions, limit = 4, MAX_STEPS

    def __init__(self, size: int, goal_observed: bool = False) -> None:
        self._size, self._goal_observed = size, goal_observed
        self._name = ""
        self._env: Any = None
        self._renderer: Any = None
        self._state: NDArray[np.float64] = np.zeros(0)

    def reset(self, name: str, seed: int) -> None:
        """Begin an episode: the seed alone says where things are."""
        if name != self._name:
            self._open(name)
        self._env.seed(seed)
        self._state, _ = self._env.reset()

    def step(self, action: NDArray[np.float32]) -> bool:
        """Execute one action (4,); Meta-World's own verdict."""
        self._state, _, _, _, info = self._env.step(action)
        return bool(info["success"])

    def state(self) -> NDArray[np.float32]:
        """The first four numbers of Meta-World's state; objects come after them."""
        return self._state[:4].astype(np.float32)

    def draw(self) -> NDArray[np.uint8]:
        """One view, upright."""
        if self._renderer is None:
            mujoco = importlib.import_module("mujoco")
            self._renderer = mujoco.Renderer(self._env.model, self._size, self._size)
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._renderer.scene.flags[flag] = 0
        self._renderer.update_scene(self._env.data, camera=CAMERA)
        upright: NDArray[np.uint8] = self._renderer.render()[None, ::-1, ::-1]
        return upright

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


def open_scene(mode: str, size: int) -> Scene:
    """What a worker plays: a Lesson in mode 'demonstrate'."""
    warnings.filterwarnings("ignore", message="Constant")  # experts ask for more than 1, which is clipped
    scene = Lesson(size) if mode == "demonstrate" else Scene(size)
    importlib.import_module("metaworld.env_dict")
    return scene
