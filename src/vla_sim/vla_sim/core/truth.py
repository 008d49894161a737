"""Ground truth of a world as plain data, for the debug topics and the judge only; never an input of the stack."""

from __future__ import annotations

from typing import Any

from vla_core.types import NS
from vla_sim.core.robot_world import RobotWorld
from vla_sim.core.suites import Suite


def truth(world: RobotWorld, suite: Suite, stamp_ns: int) -> dict[str, Any]:
    """What is where in a world of a suite.

    Returns:
        JSON-ready: `stamp_s`, `instruction`, `family`, `success`, `objects` (name → {shape, colour, position_m [3],
        quaternion_xyzw [4]}, base frame), `max_contact_force_n` of the robot with anything since the reset, also with
        what it grips, and the world's own facts, e.g. `drawer_m` and `button_pressed` of the tabletop (None where there
        is none).
    """
    objects = {}
    for item, slot in world.slots.items():
        body = world.data.body(slot)
        w, x, y, z = (float(v) for v in body.xquat)
        objects[item.name] = {
            "shape": item.shape,
            "colour": item.colour,
            "position_m": [float(v) for v in body.xpos],
            "quaternion_xyzw": [x, y, z, w],
        }
    return {
        "stamp_s": stamp_ns / NS,
        "instruction": world.task.instruction,
        "family": world.task.family,
        "success": suite.succeeded(world),
        "objects": objects,
        **world.facts(),
        "max_contact_force_n": world.contact_force_n(),
    }
