"""The frames that a robot driver publishes: the robot's links, its tool and where its cameras are mounted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import mujoco
import numpy as np

from vla_control.core.robot import RobotConfig
from vla_core.types import Float64

#: MuJoCo cameras look along -z with y up, optical frames along +z with y down.
_OPTICAL_WXYZ = np.array([0.0, 1.0, 0.0, 0.0])


@dataclass(frozen=True, slots=True)
class Frame:
    """Pose of `child` in `parent`: position (3,) [m], quaternion xyzw (4,)."""

    parent: str
    child: str
    position: Float64
    quaternion: Float64


class RobotFrames:
    """Frames of a robot below its base frame.

    Args:
        model: Compiled scene.
        robot: The robot; its bodies are all descendants of `base_frame`.
        cameras: The scene's camera entries.
        sensors: Where other sensors sit: site of the model → frame.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        robot: RobotConfig,
        cameras: list[dict[str, Any]],
        sensors: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._model = model
        self._base = robot.base_frame
        self._sites = {arm.tool_frame: arm.tool_frame for arm in robot.arms} | dict(sensors)
        self._cameras = [str(camera["name"]) for camera in cameras]
        base = model.body(self._base).id
        self._links = [i for i in range(base + 1, model.nbody) if self._descends(i, base)]

    def links(self, data: mujoco.MjData) -> list[Frame]:
        """Every link of the robot in its parent link, now."""
        frames = []
        for body in self._links:
            parent = int(self._model.body_parentid[body])
            pose = _relative(data.xpos[parent], data.xquat[parent], data.xpos[body], data.xquat[body])
            frames.append(Frame(self._model.body(parent).name, self._model.body(body).name, *pose))
        return frames

    def mounts(self) -> list[Frame]:
        """Tools, sensors and the cameras' optical frames in the links that carry them; they never move."""
        model, frames = self._model, []
        for name, frame in self._sites.items():
            site = model.site(name)
            frames.append(self._mount(int(site.bodyid[0]), frame, site.pos, site.quat))
        for name in self._cameras:
            camera, quaternion = model.camera(name), np.zeros(4)
            mujoco.mju_mulQuat(quaternion, camera.quat, _OPTICAL_WXYZ)
            frames.append(self._mount(int(camera.bodyid[0]), f"{name}_optical_frame", camera.pos, quaternion))
        return frames

    def _mount(self, body: int, child: str, position: Float64, wxyz: Float64) -> Frame:
        if body == 0:  # fixed to the world: give it in the base frame, which doesn't move either
            base = self._model.body(self._base)
            return Frame(self._base, child, *_relative(base.pos, base.quat, position, wxyz))
        return Frame(self._model.body(body).name, child, np.array(position), _xyzw(wxyz))

    def _descends(self, body: int, ancestor: int) -> bool:
        while body > 0 and body != ancestor:
            body = int(self._model.body_parentid[body])
        return body == ancestor


def _relative(parent_p: Float64, parent_q: Float64, child_p: Float64, child_q: Float64) -> tuple[Float64, Float64]:
    """Child pose in the parent, from two world poses (quaternions wxyz)."""
    inverse_p, inverse_q, p, q = np.zeros(3), np.zeros(4), np.zeros(3), np.zeros(4)
    mujoco.mju_negPose(inverse_p, inverse_q, parent_p, parent_q)
    mujoco.mju_mulPose(p, q, inverse_p, inverse_q, child_p, child_q)
    return p, _xyzw(q)


def _xyzw(wxyz: Float64) -> Float64:
    return np.array([wxyz[1], wxyz[2], wxyz[3], wxyz[0]])
