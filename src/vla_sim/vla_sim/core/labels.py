"""Training labels that only a simulator can give: where the named things are in space and in each image."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from vla_core.types import Float32, UInt8
from vla_sim.core.cameras import Cameras
from vla_sim.core.tasks import Item
from vla_sim.core.world import World

ROLES = ("object_a", "place_a", "object_b", "place_b")
MAX_OBJECTS = 12
_HIDDEN_MARGIN_M = 0.03  # a ray may end this far before a thing's centre: it has met the thing's own surface


@dataclass(frozen=True, slots=True)
class Labels:
    """K things: names, positions float32 (K,3) [m], image coordinates float32 (V,K,2), visibility uint8 (V,K)."""

    names: tuple[str, ...]
    xyz: Float32
    uv: Float32
    visible: UInt8


def role_names(world: World) -> tuple[str, ...]:
    """Name of the thing in each role of the present task, '' where the role is empty."""
    task = world.task
    if "drawer" in task.family:
        return ("drawer", "", "", "")
    if task.family == "press_button":
        return ("button", "", "", "")
    roles = ["", "", "", ""]
    for i, item in enumerate(task.objects):
        roles[2 * i] = item.name
    for i, item in enumerate(task.places):
        roles[2 * i + 1] = item.name
    return tuple(roles)


def label(world: World, cameras: Cameras) -> Labels:
    """Label every thing on the table."""
    names, points = [], []
    for item in world.slots:
        names.append(item.name)
        points.append(_centre(world, item))
    if world.has_drawer:
        names.append("drawer")
        points.append(world.handle())
    if world.has_button:
        names.append("button")
        points.append(world.button())
    xyz = np.array(points)
    uv = np.stack([cameras.project(name, xyz) for name in cameras.sizes])
    inside = np.all(np.abs(np.nan_to_num(uv, nan=9.0)) < 1.0, axis=-1)
    for v, camera in enumerate(cameras.sizes):
        for k in np.flatnonzero(inside[v]):
            inside[v, k] = _unobstructed(world, camera, xyz[k])
    return Labels(tuple(names), xyz.astype(np.float32), np.nan_to_num(uv, nan=0.0).astype(np.float32),
                  inside.astype(np.uint8))  # fmt: skip


def _centre(world: World, item: Item) -> np.ndarray:
    lift = np.array([0.0, 0.0, 0.015]) if item.shape == "bowl" else np.zeros(3)
    return world.position(item) + lift


def _unobstructed(world: World, camera: str, point: np.ndarray) -> bool:
    origin = world.data.camera(camera).xpos
    way = point - origin
    distance = float(np.linalg.norm(way))
    geom = np.zeros(1, np.int32)
    groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)  # drawn geoms, not the robot's collision shapes
    met = mujoco.mj_ray(world.model, world.data, origin, way / distance, groups, 1, -1, geom)
    return bool(met < 0 or met > distance - _HIDDEN_MARGIN_M)
