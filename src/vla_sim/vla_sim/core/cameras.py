"""Draw what the scene's cameras see, offscreen (EGL or OSMesa by $MUJOCO_GL). One instance per thread."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_core.errors import UnknownNameError
from vla_core.types import Float32, Float64, UInt8
from vla_sim.core.robot_world import RobotWorld

Int32 = NDArray[np.int32]


class Cameras:
    """Renders the cameras of a world's scene.

    Args:
        world: What to look at; the model is shared, not copied.
        sizes: Camera name → (width, height) [pixel]; None takes the scene file's sizes.
    """

    def __init__(self, world: RobotWorld, sizes: dict[str, tuple[int, int]] | None = None) -> None:
        self._world = world
        self.sizes = sizes or {c["name"]: (int(c["width"]), int(c["height"])) for c in world.scene["cameras"]}
        shapes = set(self.sizes.values())
        self._renderers = {s: mujoco.Renderer(world.model, s[1], s[0]) for s in shapes}

    def _prepare(self, name: str) -> mujoco.Renderer:
        if name not in self.sizes:
            raise UnknownNameError("camera", name, self.sizes)
        renderer = self._renderers[self.sizes[name]]
        renderer.update_scene(self._world.data, name)
        return renderer

    def rgb(self, name: str) -> UInt8:
        """uint8 (H,W,3), 0..255."""
        image: UInt8 = self._prepare(name).render()
        return image

    def depth(self, name: str) -> Float32:
        """Distance along the optical axis, float32 (H,W) [m]."""
        renderer = self._prepare(name)
        renderer.enable_depth_rendering()
        image: Float32 = renderer.render().astype(np.float32)
        renderer.disable_depth_rendering()
        return image

    def geoms(self, name: str) -> Int32:
        """Ground truth: which geom of the model every pixel shows, int32 (H,W); -1 where there is none."""
        renderer = self._prepare(name)
        renderer.enable_segmentation_rendering()
        drawn = renderer.render()
        renderer.disable_segmentation_rendering()
        found: Int32 = np.where(drawn[..., 1] == mujoco.mjtObj.mjOBJ_GEOM, drawn[..., 0], -1).astype(np.int32)
        return found

    def intrinsics(self, name: str) -> Float64:
        """Pinhole matrix (3,3) [pixel]; MuJoCo's pixels are square and centred."""
        width, height = self.sizes[name]
        focal = 0.5 * height / np.tan(np.radians(self._world.model.camera(name).fovy[0]) / 2)
        return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])

    def project(self, name: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image coordinates (N,2) in [-1,1] (x right, y down) of world points (N,3); NaN behind the camera."""
        camera = self._world.data.camera(name)
        local = (points - camera.xpos) @ camera.xmat.reshape(3, 3)  # x right, y up, looking along -z
        width, height = self.sizes[name]
        scale = 1.0 / np.tan(np.radians(self._world.model.camera(name).fovy[0]) / 2)
        depth = np.where(local[:, 2] < -1e-3, -local[:, 2], np.nan)
        return np.stack([scale * height / width * local[:, 0] / depth, -scale * local[:, 1] / depth], axis=1)

    def close(self) -> None:
        """Free the GL contexts while the interpreter still stands."""
        for renderer in self._renderers.values():
            renderer.close()
