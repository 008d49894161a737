"""Build the `aloha` MuJoCo model: a table between two arms, a cube and a bar. Sizes in metres."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco

from vla_sim.core.scene_parts import SOFT, add_cameras, add_room, new_spec

CUBE_HALF = 0.02
BAR_HALF = (0.015, 0.15, 0.015)  # its long axis is y
HALF_SIZE = {"cube": (CUBE_HALF, CUBE_HALF, CUBE_HALF), "bar": BAR_HALF}
_MASS_KG = {"cube": 0.05, "bar": 0.12}
_BOX = mujoco.mjtGeom.mjGEOM_BOX


def build_model(scene: dict[str, Any], robot_file: Path) -> mujoco.MjModel:
    """Compile the scene with the robot at the origin.

    Args:
        scene: Parsed `config/scenes/aloha.yaml`.
        robot_file: MJCF of the robot.
    """
    spec = new_spec(scene, robot_file)
    add_room(spec)
    spec.worldbody.add_geom(name="table", type=_BOX, size=[0.35, 0.62, 0.03], pos=[0, 0, -0.03], material="table",
                            friction=[0.9, 0.01, 0.001], **SOFT)  # fmt: skip
    for shape, half in HALF_SIZE.items():
        body = spec.worldbody.add_body(name=shape, gravcomp=1)
        body.add_freejoint(name=shape)
        body.add_geom(name=shape, type=_BOX, size=list(half), mass=_MASS_KG[shape], condim=4,
                      friction=[1.0, 0.02, 0.0005], **SOFT)  # fmt: skip
    add_cameras(spec, scene["cameras"])
    return spec.compile()
