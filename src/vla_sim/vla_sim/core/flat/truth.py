"""Ground truth of a flat as plain data, and whether the errand is done; for judges and debug topics only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from vla_core.types import Float64
from vla_sim.core.flat.things import CATEGORIES

if TYPE_CHECKING:
    from vla_sim.core.flat.world import FlatWorld

HOME_M = 0.7  # the robot has brought the thing when both are this near to where it started
_HELD_M = 0.07  # from the tool to the middle of a thing that the gripper holds
_ON_FLOOR_M = 0.02
_LYING_M, _STILL_M_S = 0.05, 0.05  # also on its side
_AHEAD_M, _ASIDE_M = 0.6, 0.25


def thing_position(world: FlatWorld, index: int = 0) -> Float64:
    """Middle of a thing's underside (3,) [m], world frame; 0 is the target."""
    return np.array(world.data.body(f"thing{index}").xpos)


def held(world: FlatWorld, index: int = 0) -> bool:
    """The thing lies between the jaws and off the floor."""
    category = CATEGORIES[world.plan.things[index].category]
    body = world.data.body(f"thing{index}")
    middle = body.xpos + body.xmat.reshape(3, 3) @ np.array([0.0, 0.0, category.grasp_height])
    tool = world.data.site(world.robot.tool_frame).xpos
    near = float(np.linalg.norm(middle - tool)) < _HELD_M + (category.radius if category.grasp_m < 0.02 else 0.0)
    return near and float(body.xpos[2]) > _ON_FLOOR_M


def put_down(world: FlatWorld) -> bool:
    """The target lies on the floor, before the robot and within its arm's length."""
    base, body = world.data.body(world.robot.base_frame), world.data.body("thing0")
    x, y, _ = base.xmat.reshape(3, 3).T @ (body.xpos - base.xpos)
    velocity = world.data.qvel[world.model.jnt_dofadr[world.model.body("thing0").jntadr[0]] :][:3]
    still = float(np.linalg.norm(velocity)) < _STILL_M_S
    return still and float(body.xpos[2]) < _LYING_M and 0.0 < x < _AHEAD_M and abs(y) < _ASIDE_M


def succeeded(world: FlatWorld) -> bool:
    """The target is where the robot started, and so is the robot."""
    return max(_from_start(world)) < HOME_M


def _from_start(world: FlatWorld) -> tuple[float, float]:
    """How far target and base are from where the robot started, on the floor [m]."""
    start = world.plan.start[:2]
    thing, base = thing_position(world)[:2], world.base_pose()[:2]
    return math.dist(thing, start), math.dist(base, start)


def facts(world: FlatWorld) -> dict[str, Any]:
    """What is true of the flat now, JSON-ready.

    Returns:
        `base` and `start` ([x, y, yaw], world frame), `room` that the base is in, `target` (name, room, `on` what it
        lay, whether it is `held`, `place` [x, y, z], world frame), `from_start_m` of `target` and `base`, `rooms`
        (kind → [x0, y0, x1, y1]), `doors_shut` (indices), `driven_m` of the base since the reset, `collisions`
        ({time_s, body, force_n} each).
    """
    plan, floor = world.plan, world.plan.floor
    x, y, yaw = world.base_pose()
    shut = [i for i in range(len(floor.doors)) if world.data.body(f"door{i}").xpos[2] > 0.0]
    target = plan.target
    return {
        "base": [x, y, yaw],
        "start": list(plan.start),
        "room": floor.room_at(x, y),
        "target": {
            "name": target.name,
            "room": target.room,
            "on": target.on,
            "held": held(world),
            "place": thing_position(world).tolist(),
        },
        "from_start_m": dict(zip(("target", "base"), _from_start(world), strict=True)),
        "rooms": {room.kind: [room.rect.x0, room.rect.y0, room.rect.x1, room.rect.y1] for room in floor.rooms},
        "doors_shut": shut,
        "driven_m": world.driven_m,
        "collisions": [{"time_s": e.time_s, "body": e.body, "force_n": e.force_n} for e in world.collisions.events],
    }
