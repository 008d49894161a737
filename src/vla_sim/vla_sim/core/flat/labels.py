"""Where named things are for the flat's robot, in space and in the views of a contract; see `vla_sim.core.labels`."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_core.contract import Contract
from vla_core.types import Float64
from vla_perception.core.resize import centre_crop
from vla_sim.core.cameras import Cameras
from vla_sim.core.flat.expert import TAKE
from vla_sim.core.flat.hand_world import HandWorld
from vla_sim.core.flat.things import CATEGORIES
from vla_sim.core.labels import MAX_OBJECTS, Labels

_SEEN_GROUPS = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # what cameras see: flat, things, robot


def roles(world: HandWorld) -> tuple[str, ...]:
    """Name of the thing in each role of what the arm is told; putting down names none that has to be found."""
    return (world.plan.target.name if world.task.family == TAKE else "", "", "", "")


def label(world: HandWorld, cameras: Cameras, contract: Contract) -> Labels:
    """Label the nearest things, of each name one; positions in the robot's base frame."""
    names: list[str] = []
    bodies: list[int] = []
    points: list[Float64] = []
    base = world.data.body(world.robot.base_frame)
    nearest = sorted(enumerate(world.plan.things), key=lambda one: float(_away(world, one[0], base.xpos)))
    for index, thing in nearest:
        if thing.name not in names and len(names) < MAX_OBJECTS:
            names.append(thing.name)
            bodies.append(world.model.body(f"thing{index}").id)
            points.append(_middle(world, index))
    xyz = np.array(points)
    uv = np.stack([_project(cameras, spec.name, xyz, spec.width / spec.height) for spec in contract.cameras])
    visible = np.all(np.abs(np.nan_to_num(uv, nan=9.0)) < 1.0, axis=-1)
    for v, spec in enumerate(contract.cameras):
        for k in np.flatnonzero(visible[v]):
            visible[v, k] = _unobstructed(world, spec.name, xyz[k], bodies[k])
    local = (xyz - base.xpos) @ base.xmat.reshape(3, 3)
    return Labels(
        tuple(names), local.astype(np.float32), np.nan_to_num(uv, nan=0.0).astype(np.float32), visible.astype(np.uint8)
    )


def _middle(world: HandWorld, index: int) -> Float64:
    body, kind = world.data.body(f"thing{index}"), CATEGORIES[world.plan.things[index].category]
    return np.asarray(body.xpos + body.xmat.reshape(3, 3) @ [0.0, 0.0, kind.height / 2])


def _away(world: HandWorld, index: int, place: Float64) -> float:
    return float(np.linalg.norm(world.data.body(f"thing{index}").xpos - place))


def _project(cameras: Cameras, name: str, points: Float64, aspect: float) -> Float64:
    """As `Cameras.project`, in the crop that a view of this aspect ratio shows."""
    width, height = cameras.sizes[name]
    crop = centre_crop(width, height, round(1000 * aspect), 1000)
    return cameras.project(name, points) * [width / crop.width, height / crop.height]


def _unobstructed(world: HandWorld, camera: str, point: Float64, body: int) -> bool:
    """What the camera sees in this direction is the thing itself."""
    origin = world.data.camera(camera).xpos
    way = point - origin
    geom = np.zeros(1, np.int32)
    mujoco.mj_ray(world.model, world.data, origin, way / np.linalg.norm(way), _SEEN_GROUPS, 1, -1, geom)
    return bool(geom[0] >= 0 and world.model.geom_bodyid[geom[0]] == body)
