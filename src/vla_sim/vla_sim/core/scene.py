"""Build the `tabletop` MuJoCo model: table, robot, cameras, and slots that a reset fills with coloured things.

Every slot exists in the model at all times; `world.py` recolours, places or parks it, so one compiled model serves
every seed. Sizes in metres.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from vla_sim.core.scene_parts import SOFT, add_cameras, add_room, new_spec

CUBE_HALF = 0.02
CYLINDER = (0.02, 0.024)  # radius, half height
BALL_RADIUS = 0.022
BOWL_RADIUS, BOWL_WALL, BOWL_HEIGHT = 0.056, 0.004, 0.034
DRAWER_TRAVEL = 0.12
BUTTON_TRAVEL = 0.010
HALF_HEIGHT = {"cube": CUBE_HALF, "cylinder": CYLINDER[1], "ball": BALL_RADIUS}

_GEOM = mujoco.mjtGeom


def build_model(scene: dict[str, Any], robot_file: Path) -> mujoco.MjModel:
    """Compile the scene with the robot attached at the origin.

    Args:
        scene: Parsed `config/scenes/*.yaml`.
        robot_file: MJCF of the robot.
    """
    spec = new_spec(scene, robot_file)
    add_room(spec)
    add_table(spec)
    for shape, count in scene["slots"].items():
        for i in range(count):
            (_bowl if shape == "bowl" else add_thing)(spec, shape, f"{shape}{i}")
    _drawer(spec)
    _button(spec)
    # MuJoCo lets a child collide with a static parent
    spec.add_exclude(bodyname1="cabinet", bodyname2="drawer")
    spec.add_exclude(bodyname1="button_base", bodyname2="button")
    add_cameras(spec, scene["cameras"])
    return spec.compile()


def add_table(spec: mujoco.MjSpec) -> None:
    """The table top, and the pedestal that the robot stands on."""
    world = spec.worldbody
    world.add_geom(name="table", type=_GEOM.mjGEOM_BOX, size=[0.42, 0.6, 0.03], pos=[0.46, 0, -0.03], material="table",
                   friction=[0.9, 0.01, 0.001], **SOFT)  # fmt: skip
    world.add_geom(name="pedestal", type=_GEOM.mjGEOM_BOX, size=[0.16, 0.2, 0.4], pos=[-0.13, 0, -0.4],
                   rgba=[0.3, 0.3, 0.32, 1], contype=0, conaffinity=0)  # fmt: skip


def add_thing(spec: mujoco.MjSpec, shape: str, name: str) -> None:
    """A cube, cylinder or ball that moves freely."""
    body = spec.worldbody.add_body(name=name, gravcomp=1)
    body.add_freejoint(name=name)
    geom: dict[str, Any] = {"name": name, "condim": 4, "friction": [1.0, 0.02, 0.0005], **SOFT}
    if shape == "cube":
        body.add_geom(type=_GEOM.mjGEOM_BOX, size=[CUBE_HALF] * 3, mass=0.05, **geom)
    elif shape == "cylinder":
        body.add_geom(type=_GEOM.mjGEOM_CYLINDER, size=[*CYLINDER, 0], mass=0.05, **geom)
    else:  # a felt ball: rolling friction lets it come to rest
        geom |= {"condim": 6, "friction": [1.0, 0.02, 0.002]}
        body.add_geom(type=_GEOM.mjGEOM_SPHERE, size=[BALL_RADIUS, 0, 0], mass=0.04, **geom)


def _bowl(spec: mujoco.MjSpec, _shape: str, name: str) -> None:
    body = spec.worldbody.add_body(name=name)
    body.add_geom(name=name, type=_GEOM.mjGEOM_CYLINDER, size=[BOWL_RADIUS, 0.003, 0], pos=[0, 0, 0.003], **SOFT)
    walls = 12
    half_width = (BOWL_RADIUS + BOWL_WALL) * np.tan(np.pi / walls)
    for i in range(walls):
        angle = 2 * np.pi * i / walls
        body.add_geom(name=f"{name}_wall{i}", type=_GEOM.mjGEOM_BOX,
                      size=[BOWL_WALL, half_width, BOWL_HEIGHT / 2],
                      pos=[BOWL_RADIUS * np.cos(angle), BOWL_RADIUS * np.sin(angle), BOWL_HEIGHT / 2],
                      quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)], **SOFT)  # fmt: skip


def _drawer(spec: mujoco.MjSpec) -> None:
    """A low cabinet whose drawer slides along its own -x; the handle is a post that the gripper takes from above."""
    cabinet = spec.worldbody.add_body(name="cabinet")
    wood, inner = [0.55, 0.38, 0.22, 1.0], [0.72, 0.55, 0.36, 1.0]
    box = _GEOM.mjGEOM_BOX
    cabinet.add_geom(name="cabinet_top", type=box, size=[0.075, 0.095, 0.004], pos=[0.075, 0, 0.066], rgba=wood)
    cabinet.add_geom(name="cabinet_back", type=box, size=[0.004, 0.095, 0.033], pos=[0.146, 0, 0.033], rgba=wood)
    for name, y in (("cabinet_left", 0.091), ("cabinet_right", -0.091)):
        cabinet.add_geom(name=name, type=box, size=[0.075, 0.004, 0.033], pos=[0.075, y, 0.033], rgba=wood)
    drawer = cabinet.add_body(name="drawer")
    drawer.add_joint(name="drawer", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[-1, 0, 0], range=[0, DRAWER_TRAVEL],
                     limited=True, damping=4.0, frictionloss=0.8, armature=0.05)  # fmt: skip
    quiet = {"contype": 0, "conaffinity": 0}  # the drawer doesn't rub against its cabinet
    drawer.add_geom(name="drawer_tray", type=box, size=[0.065, 0.08, 0.004], pos=[0.07, 0, 0.012], rgba=inner,
                    mass=0.2, **quiet)  # fmt: skip
    drawer.add_geom(name="drawer_face", type=box, size=[0.004, 0.088, 0.028], pos=[0.0, 0, 0.032], rgba=inner, mass=0.1)
    drawer.add_geom(name="drawer_arm", type=box, size=[0.025, 0.006, 0.005], pos=[-0.025, 0, 0.022],
                    rgba=[0.2, 0.2, 0.2, 1], mass=0.02)  # fmt: skip
    drawer.add_geom(name="drawer_handle", type=box, size=[0.010, 0.014, 0.022], pos=[-0.05, 0, 0.036],
                    rgba=[0.15, 0.15, 0.17, 1], mass=0.03, condim=4, friction=[1.2, 0.02, 0.001], **SOFT)  # fmt: skip


def _button(spec: mujoco.MjSpec) -> None:
    base = spec.worldbody.add_body(name="button_base")
    cylinder = _GEOM.mjGEOM_CYLINDER
    base.add_geom(name="button_base", type=cylinder, size=[0.036, 0.010, 0], pos=[0, 0, 0.010],
                  rgba=[0.2, 0.2, 0.22, 1])  # fmt: skip
    cap = base.add_body(name="button", pos=[0, 0, 0.028])
    cap.add_joint(name="button", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0, 0, -1], range=[0, BUTTON_TRAVEL],
                  limited=True, stiffness=250.0, damping=3.0, armature=0.02, springref=-0.004)  # fmt: skip
    cap.add_geom(name="button", type=cylinder, size=[0.024, 0.008, 0], rgba=[0.9, 0.9, 0.9, 1], mass=0.02)
