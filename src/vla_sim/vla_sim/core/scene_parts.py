"""What the models of all scenes have in common: options of the simulation, room and lamp, cameras."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from vla_core.files import config_path, load_yaml

#: Contacts of things: soft enough for a step of 1 ms.
SOFT = {"solref": [0.01, 1.0], "solimp": [0.95, 0.99, 0.001, 0.5, 2.0]}
_GEOM = mujoco.mjtGeom


def load_scene(name: str) -> dict[str, Any]:
    """Read `config/scenes/<name>.yaml`."""
    return load_yaml(config_path("scenes", name))


def new_spec(scene: dict[str, Any], robot_file: Path) -> mujoco.MjSpec:
    """The robot at the origin, with the scene's timestep and with rendering that costs little.

    Args:
        scene: Parsed `config/scenes/*.yaml`.
        robot_file: MJCF of the robot.
    """
    spec = mujoco.MjSpec.from_file(str(robot_file))
    spec.option.timestep = float(scene["timestep_s"])
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 5
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.offsamples = 0
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
    spec.visual.map.znear = 0.01
    spec.visual.headlight.ambient = [0.4] * 3
    spec.visual.headlight.diffuse = [0.4] * 3
    spec.visual.headlight.specular = [0.1] * 3
    return spec


def add_room(spec: mujoco.MjSpec) -> None:
    """Sky, floor, lamp `lamp` and the material `table`; the table top is to lie at z = 0."""
    world = spec.worldbody
    texture = mujoco.mjtTexture
    sky = {"name": "sky", "type": texture.mjTEXTURE_SKYBOX, "builtin": mujoco.mjtBuiltin.mjBUILTIN_GRADIENT}
    spec.add_texture(**sky, width=32, height=32, rgb1=[0.75, 0.8, 0.85], rgb2=[0.35, 0.4, 0.45])
    wood = {"name": "wood", "type": texture.mjTEXTURE_2D, "builtin": mujoco.mjtBuiltin.mjBUILTIN_FLAT}
    spec.add_texture(**wood, mark=mujoco.mjtMark.mjMARK_RANDOM, random=0.25, width=128, height=128,
                     rgb1=[0.8, 0.8, 0.8], markrgb=[0.7, 0.7, 0.7])  # fmt: skip
    material = spec.add_material(name="table", texrepeat=[4, 4], specular=0.1, shininess=0.1)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "wood"
    world.add_light(name="lamp", pos=[0.5, 0.0, 1.6], dir=[0, 0, -1], castshadow=False, diffuse=[0.5] * 3)
    world.add_geom(name="floor", type=_GEOM.mjGEOM_PLANE, size=[4, 4, 0.1], pos=[0, 0, -0.8], rgba=[0.5, 0.5, 0.5, 1])


def add_cameras(spec: mujoco.MjSpec, cameras: Iterable[dict[str, Any]]) -> None:
    """Mount a scene's cameras; `up` is the direction in the parent's frame that points up in the picture."""
    for camera in cameras:
        _camera(spec, camera)


def _camera(spec: mujoco.MjSpec, camera: dict[str, Any]) -> None:
    parent = spec.worldbody if camera["parent"] == "world" else spec.body(camera["parent"])
    position, target = np.array(camera["position_m"]), np.array(camera["target_m"])
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, np.array(camera["up"]))
    right /= np.linalg.norm(right)
    axes = np.concatenate([right, np.cross(right, forward)])
    matrix = np.stack([axes[:3], axes[3:], -forward], axis=1)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, matrix.flatten())
    parent.add_camera(name=camera["name"], pos=position, quat=quat, fovy=float(camera["fovy_deg"]))
