"""Has the instruction been carried out? Read from ground truth, so only for benchmarks and training labels."""

from __future__ import annotations

import numpy as np

from vla_sim.core.scene import BOWL_RADIUS, DRAWER_TRAVEL, HALF_HEIGHT
from vla_sim.core.tasks import Item
from vla_sim.core.world import World

LIFT_M = 0.08
SIDE_M = 0.17  # a thing lies on the left (right) side from y > SIDE_M (< -SIDE_M)
OPEN_M = 0.75 * DRAWER_TRAVEL
SHUT_M = 0.015


def succeeded(world: World) -> bool:
    """True when the world satisfies its task now."""
    task = world.task
    match task.family:
        case "pick" | "catch":  # 'catch' is content with any
            return any(world.position(item)[2] > LIFT_M and gripper_near(world, item) for item in task.objects)
        case "place_in" | "sort":
            return all(in_bowl(world, a, b) for a, b in zip(task.objects, task.places, strict=True))
        case "stack":
            return on_top(world, task.objects[0], task.places[0])
        case "push":
            y = float(world.position(task.objects[0])[1])
            return (y if task.side == "left" else -y) > SIDE_M
        case "open_drawer":
            return world.drawer_m() > OPEN_M
        case "close_drawer":
            return world.drawer_m() < SHUT_M
        case _:
            return world.button_pressed


def gripper_near(world: World, item: Item) -> bool:
    """The thing lies between the finger tips."""
    return bool(np.linalg.norm(world.tool_pose()[0] - world.position(item)) < 0.035)


def in_bowl(world: World, item: Item, bowl: Item) -> bool:
    """The thing rests inside the bowl and the gripper has let go."""
    p, b = world.position(item), world.position(bowl)
    inside = bool(np.hypot(*(p - b)[:2]) < BOWL_RADIUS - 0.01) and p[2] < 0.05
    return inside and bool(world.tool_pose()[0][2] > p[2] + 0.03)


def on_top(world: World, item: Item, base: Item) -> bool:
    """The thing rests on the base and the gripper has let go."""
    p, b = world.position(item), world.position(base)
    height = HALF_HEIGHT[item.shape] + HALF_HEIGHT[base.shape]
    aligned = bool(np.hypot(*(p - b)[:2]) < 0.022) and abs(p[2] - b[2] - height) < 0.008
    return aligned and bool(world.tool_pose()[0][2] > p[2] + 0.03)
