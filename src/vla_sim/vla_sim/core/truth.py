"""Ground truth of a world as plain data, for the debug topics and the judge only; never an input of the stack."""

from __future__ import annotations

from typing import Any

from vla_core.types import NS
from vla_sim.core.judge import succeeded
from vla_sim.core.world import World


def truth(world: World, stamp_ns: int) -> dict[str, Any]:
    """What is where.

    Returns:
        JSON-ready: `stamp_s`, `instruction`, `family`, `success`, `objects` (name → {shape, colour, position_m [3],
        quaternion_xyzw [4]}, base frame), `drawer_m` and `button_pressed` (None where there is none), and
        `max_contact_force_n` since the reset.
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
        "success": succeeded(world),
        "objects": objects,
        "drawer_m": world.drawer_m() if world.has_drawer else None,
        "button_pressed": world.button_pressed if world.has_button else None,
        "max_contact_force_n": world.contact_force_n(),
    }
