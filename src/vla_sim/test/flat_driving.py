"""What tests of the flat world share: drive for a while, stand somewhere else."""

from __future__ import annotations

import mujoco
import numpy as np

from vla_sim.core.flat.free_space import FreeSpace
from vla_sim.core.flat.world import FlatWorld

SHUT, FORCE = np.array([0.0]), np.array([10.0])


def run(world: FlatWorld, seconds: float, vx: float = 0.0, wz: float = 0.0, command: bool = True) -> None:
    for _ in range(round(seconds / world.model.opt.timestep)):
        if command:
            world.command_base(vx, wz)
        world.step(world.robot.home_rad, SHUT, FORCE)


def put(world: FlatWorld, x: float, y: float, yaw: float) -> None:
    """Stand somewhere else, at rest."""
    joint = world.model.joint("base_free")
    pose = [x, y, 0.0, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
    world.data.qpos[joint.qposadr[0] : joint.qposadr[0] + 7] = pose
    world.data.qvel[joint.dofadr[0] : joint.dofadr[0] + 6] = 0.0
    mujoco.mj_forward(world.model, world.data)


def open_place(world: FlatWorld) -> tuple[float, float, float]:
    """The place furthest from everything, and how far that is [m]."""
    space = FreeSpace(world.plan.floor)
    space.take([placed.rect for placed in world.plan.furniture], [(t.x, t.y, 0.1) for t in world.plan.things])
    clearance = space.clearance()
    at = np.unravel_index(int(np.argmax(clearance)), clearance.shape)
    x, y = space.centres(
        np.arange(clearance.size).reshape(clearance.shape) == np.ravel_multi_index(at, clearance.shape)
    )[0]
    return float(x), float(y), float(clearance[at])
