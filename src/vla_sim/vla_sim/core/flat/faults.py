"""What goes wrong in a flat while a mission runs: `FlatWorld.inject` does it, `sim_node/debug/inject` asks for it.

The robot is told nothing; it has what its sensors show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from vla_core.errors import UnknownNameError, VlaError
from vla_core.types import Float64
from vla_sim.core.flat.free_space import FreeSpace
from vla_sim.core.flat.spots import Spots
from vla_sim.core.flat.things import CATEGORIES, FLOOR
from vla_sim.core.flat.truth import held

if TYPE_CHECKING:
    from vla_sim.core.flat.world import FlatWorld

_OUTSIDE = (-8.0, -8.0)  # of the flat, on the ground [m]
_ELSEWHERE_M = 1.5  # who is carried away is at least so far from where it was
_LIFT_M = 5e-4
_SINK_M_S = -0.01  # what is moved gets this speed: what is at rest sleeps, and stays where it is drawn
_OPEN_S, _SHOWN_S = 0.6, 0.3
_AHEAD_M, _LEAST_M, _BEAM_RAD = 1.0, 0.5, 0.35  # where a phantom stands
_SLIP = 0.35  # share of a wheel's turn that is no way
_LOW = 0.1  # charge


class FaultError(VlaError):
    """A fault that can't be injected now."""

    code = "fault"


class FlatFaults:
    """What is wrong now.

    Attributes:
        grip: (2,) share of a wheel's turn, left and right, that becomes way.
        drained: Charge that is missing, 0..1.
        opened: The gripper opens, whatever it is told.
    """

    def __init__(self) -> None:
        self.grip: Float64 = np.ones(2)
        self.opened = False
        self.drained = 0.0
        self._later: list[tuple[float, Callable[[], None]]] = []  # when it is due, on the world's clock [s]

    def later(self, time_s: float, undo: Callable[[], None]) -> None:
        """Do something at a time of the world's clock."""
        self._later.append((time_s, undo))

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        if not self._later:
            return
        due = [undo for time_s, undo in self._later if time_s <= now_s]
        self._later = [(time_s, undo) for time_s, undo in self._later if time_s > now_s]
        for undo in due:
            undo()


def inject(world: FlatWorld, name: str) -> str:
    """Do it; what was done, in words.

    Raises:
        UnknownNameError: no such fault.
        FaultError: it can't be done now.
    """
    if name not in FAULTS:
        raise UnknownNameError("fault", name, FAULTS)
    return FAULTS[name](world)


def _target_gone(world: FlatWorld) -> str:
    _move(world, (*_OUTSIDE, 0.0))
    return "the target is outside of the flat"


def _target_moved(world: FlatWorld) -> str:
    """To where the arm gets it, as any target is, but not where it was."""
    plan, target = world.plan, world.plan.target
    space = FreeSpace(plan.floor)
    lying = [(thing.x, thing.y, CATEGORIES[thing.category].radius) for thing in plan.things[1:] if thing.on == FLOOR]
    space.take([placed.rect for placed in plan.furniture], lying)
    rng = np.random.default_rng([plan.seed, 53, round(1000 * world.data.time)])
    spots = Spots(space, plan.furniture)
    spots.keep(plan.things[1:])
    at = np.array(world.data.body("thing0").xpos[:2])
    robot = np.array(world.base_pose()[:2])
    for _ in range(20):
        spot = spots.draw(rng, target.colour, target.category, reachable=True)
        if spot is None:
            continue
        there = np.array([spot.x, spot.y])
        if np.linalg.norm(there - at) > _ELSEWHERE_M and np.linalg.norm(there - robot) > _LEAST_M:
            _move(world, (spot.x, spot.y, spot.z))
            return f"the target lies in the {spot.room}, on the {spot.on}"
    raise FaultError("no other place for the target", "one", "take another seed")


def _phantom(world: FlatWorld) -> str:
    """The target's looks before the front camera for some pictures: what a detector sees that isn't there."""
    lidar = world.lidar_2d
    bearing = np.arctan2(lidar.directions[0, :, 1], lidar.directions[0, :, 0])
    ahead = np.abs(bearing) < _BEAM_RAD
    free_m = float(lidar.exact(world.model, world.data)[0, ahead].min())
    if free_m < _LEAST_M:
        raise FaultError(f"something {free_m:.2f} m before the robot", f"{_LEAST_M:g} m of free floor", "try later")
    x, y, yaw = world.base_pose()
    away_m = min(_AHEAD_M, free_m)
    joint = world.model.joint("thing0")
    pose = world.data.qpos[joint.qposadr[0] :][:7].copy()
    _move(world, (x + away_m * np.cos(yaw), y + away_m * np.sin(yaw), 0.0))
    world.faults.later(world.data.time + _SHOWN_S, lambda: _put(world, pose))
    return f"the target's looks, {away_m:.1f} m ahead for {_SHOWN_S:g} s"


def _thing_slips(world: FlatWorld) -> str:
    if not held(world):
        raise FaultError("an empty hand", "the target in it", "try later")
    _open(world, True)
    world.faults.later(world.data.time + _OPEN_S, lambda: _open(world, False))
    return f"the gripper opens for {_OPEN_S:g} s"


def _kidnapped(world: FlatWorld) -> str:
    """Carried to another place, in another room if there is one; the wheels notice nothing."""
    plan = world.plan
    space = FreeSpace(plan.floor)
    space.take([placed.rect for placed in plan.furniture], [(t.x, t.y, 0.05) for t in plan.things if t.on == FLOOR])
    reached = space.reached()
    assert reached is not None, "flats leave every room reachable"
    x, y, yaw = world.base_pose()
    cells = space.centres(reached)
    cells = cells[np.hypot(*(cells - [x, y]).T) > _ELSEWHERE_M]
    room = plan.floor.room_at(x, y)
    other = cells[[plan.floor.room_at(*cell) != room for cell in cells]]
    rng = np.random.default_rng([plan.seed, 59, round(1000 * world.data.time)])
    choice = other if len(other) else cells
    x, y = choice[int(rng.integers(len(choice)))]
    yaw = float(rng.uniform(-np.pi, np.pi))
    data, joint = world.data, world.model.joint("base_free")
    data.qpos[joint.qposadr[0] :][:7] = [x, y, data.qpos[joint.qposadr[0] + 2], np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
    data.qvel[joint.dofadr[0] :][:6] = 0.0
    mujoco.mj_forward(world.model, data)
    return f"the robot stands in the {plan.floor.room_at(x, y)}"


def _doors(shut: bool) -> Callable[[FlatWorld], str]:
    def move(world: FlatWorld) -> str:
        """Every door that the robot doesn't stand in."""
        at, moved = np.array(world.base_pose()[:2]), 0
        for i, door in enumerate(world.plan.floor.doors):
            if not shut or np.linalg.norm(at - [door.x, door.y]) > _LEAST_M:
                world.set_door(i, shut)
                moved += 1
        return f"{moved} doors are {'shut' if shut else 'open'}"

    return move


def _lidars(blind: bool) -> Callable[[FlatWorld], str]:
    def change(world: FlatWorld) -> str:
        world.lidar_2d.blind = world.lidar_3d.blind = blind
        return "no ray of a lidar comes back" if blind else "lidars see again"

    return change


def _wheels(slip: float) -> Callable[[FlatWorld], str]:
    def change(world: FlatWorld) -> str:
        world.faults.grip = np.array([1.0 - slip, 1.0])
        return f"{100 * slip:g} % of what the left wheel turns is no way"

    return change


def _battery_low(world: FlatWorld) -> str:
    world.faults.drained += max(0.0, world.charge - _LOW)
    return f"{100 * world.charge:.0f} % of the battery are left"


#: Name -> what does it. Some are undone by another one.
FAULTS: dict[str, Callable[[FlatWorld], str]] = {
    "target_gone": _target_gone,
    "target_moved": _target_moved,
    "phantom": _phantom,
    "thing_slips": _thing_slips,
    "kidnapped": _kidnapped,
    "doors_shut": _doors(True),
    "doors_open": _doors(False),
    "lidars_blind": _lidars(True),
    "lidars_see": _lidars(False),
    "wheels_slip": _wheels(_SLIP),
    "wheels_grip": _wheels(0.0),
    "battery_low": _battery_low,
}


def _move(world: FlatWorld, at: tuple[float, float, float]) -> None:
    """Put the target there, upright [m]."""
    _put(world, np.array([at[0], at[1], at[2] + _LIFT_M, 1.0, 0.0, 0.0, 0.0]))


def _put(world: FlatWorld, pose: Float64) -> None:
    """Put the target there: position [m] and quaternion (7,)."""
    data, joint = world.data, world.model.joint("thing0")
    data.qpos[joint.qposadr[0] :][:7] = pose
    data.qvel[joint.dofadr[0] :][:6] = [0.0, 0.0, _SINK_M_S, 0.0, 0.0, 0.0]
    mujoco.mj_forward(world.model, data)


def _open(world: FlatWorld, opened: bool) -> None:
    world.faults.opened = opened
