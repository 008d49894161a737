"""Labelled single states of the flat's arm, without simulating the way there; see `vla_sim.core.stills`.

Every state of taking a thing up is seen from another place, the thing turned otherwise: whole flats are dear to make.
The states are those that the expert comes through, with errors that it doesn't make: on the way to the thing, the jaws
about to shut, on the way with it, and the same for putting it down.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_core.errors import PolicyError
from vla_core.types import Float64
from vla_sim.core.flat.expert import CARRY_RAD, PUT, find_grasp, place_down, raised
from vla_sim.core.flat.hand_world import HandWorld
from vla_sim.core.flat.things import CATEGORIES

_FAR_RAD = np.array([0.5, 0.35, 0.35, 0.35, 0.8])  # errors on the way through the air, about the thing, with it
_NEAR_RAD = np.array([0.10, 0.06, 0.06, 0.08, 0.25])
_HELD_RAD = np.array([0.15, 0.10, 0.10, 0.10, 0.15])
_SLIP_M = 0.004  # of a thing in the hand
_TRIES = 12


def pose_hand(world: HandWorld, rng: np.random.Generator) -> bool:
    """Put the robot of a freshly reset world somewhere plausible; False when no state was found."""
    draw = _drawer(world, rng)
    if draw is None:
        return False
    start = world.data.qpos.copy()
    for _ in range(_TRIES):
        world.data.qpos[:] = start
        if draw():
            return True
    return False


def _drawer(world: HandWorld, rng: np.random.Generator) -> Callable[[], bool] | None:
    """What draws one state; False: it is none, another may be."""
    kind, home = CATEGORIES[world.plan.target.category], world.robot.home_rad
    most_m = float(world.robot.gripper_width_max_m[0])
    low, high = world.robot.position_min_rad, world.robot.position_max_rad
    puts = world.task.family == PUT
    if not puts and not world.stand_anew(rng):  # what a still is labelled by: how the thing lies to the arm
        return None
    try:
        path = place_down(world) if puts else find_grasp(world)
    except PolicyError:
        return None
    over = None if puts else raised(home, path, home)
    way = [home, path.before] if over is None else [home, over, path.before]

    def between(a: Float64, b: Float64, spread: Float64) -> Float64:
        q = a + rng.random() * (b - a) + rng.normal(size=len(a)) * spread
        clipped: Float64 = np.clip(q, low, high)
        return clipped

    def with_thing(q: Float64) -> bool:
        world.put(q, kind.grasp_m)
        T = world.T_tool_thing.copy()
        T[:3, 3] += rng.normal(0.0, _SLIP_M / 2, 3)
        world.hold(T)
        return True

    def without(q: Float64) -> bool:
        shut = rng.random()
        if puts:
            world.let_go(path.around)
        world.put(q, most_m if shut < 0.6 else float(rng.uniform(0.0, most_m)) if shut < 0.85 else 0.0)
        return not world.touches()

    def closing() -> bool:
        world.put(path.around, float(rng.uniform(kind.grasp_m, most_m)))
        return True

    def draw() -> bool:
        share = rng.random()
        if share < 0.25:
            part = int(rng.integers(len(way) - 1))
            return without(between(way[part], way[part + 1], _FAR_RAD * rng.choice([0.1, 0.4, 1.0])))
        if share < 0.55:
            return without(between(path.before, path.around, _NEAR_RAD * rng.choice([0.1, 0.4, 1.0])))
        if share < 0.65 and not puts:
            return closing()
        if share < 0.95:
            a, b = ((path.around, path.lifted), (path.lifted, CARRY_RAD))[int(rng.integers(2))]
            return with_thing(between(a, b, _HELD_RAD * rng.choice([0.0, 0.3, 1.0])))
        return without(home + rng.normal(size=len(home)) * 0.02) if puts else with_thing(CARRY_RAD)

    return draw
